"""LUSIFER turns texts of any language into unit vectors, for Qdrant and Weaviate.

::

    from lusifer import Vectorizer

    vectorizer = Vectorizer.load()
    query = vectorizer.embed_query("Wie packe ich ein Archiv aus?")
    documents = vectorizer.embed_documents(["tar extracts archives", "ls lists files"])
    print(documents.vectors @ query.vector)

All names but the errors are imported on first use, so that ``import lusifer`` takes milliseconds
and needs none of the extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lusifer import errors as _errors
from lusifer._version import __version__
from lusifer.errors import *  # noqa: F403 - every error is public; the list stands in its module

if TYPE_CHECKING:
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle, Manifest
    from lusifer.common.validation import check_text
    from lusifer.embedded.store import EmbeddedStore
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.engines.base import Engine
    from lusifer.engines.fake import FakeEngine, Faults
    from lusifer.engines.onnx import OnnxEngine
    from lusifer.stores.base import Store
    from lusifer.types import (
        Condition,
        Document,
        Embedding,
        Embeddings,
        Hit,
        LongTextPolicy,
        Role,
        SearchOptions,
    )


__all__ = [
    "Bundle",
    "Condition",
    "Document",
    "EmbeddedStore",
    "Embedding",
    "Embeddings",
    "Engine",
    "FakeEngine",
    "Faults",
    "Hit",
    "LongTextPolicy",
    "Manifest",
    "OnnxEngine",
    "Role",
    "SearchOptions",
    "Store",
    "Vectorizer",
    "__version__",
    "check_text",
    "default_bundle",
]
__all__ += _errors.__all__

_MODULE_OF = {
    "Bundle": "lusifer.bundle.format",
    "Condition": "lusifer.types",
    "Document": "lusifer.types",
    "EmbeddedStore": "lusifer.embedded.store",
    "Embedding": "lusifer.types",
    "Embeddings": "lusifer.types",
    "Engine": "lusifer.engines.base",
    "FakeEngine": "lusifer.engines.fake",
    "Faults": "lusifer.engines.fake",
    "Hit": "lusifer.types",
    "LongTextPolicy": "lusifer.types",
    "Manifest": "lusifer.bundle.format",
    "OnnxEngine": "lusifer.engines.onnx",
    "Role": "lusifer.types",
    "SearchOptions": "lusifer.types",
    "Store": "lusifer.stores.base",
    "Vectorizer": "lusifer.embedding.vectorizer",
    "check_text": "lusifer.common.validation",
    "default_bundle": "lusifer.bundle.default",
}


def __getattr__(name: str) -> object:
    """Import an exported name from its module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lusifer' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
