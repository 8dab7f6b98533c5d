"""LUSIFER: texts of any language as unit vectors, for Qdrant and Weaviate.

::

    from lusifer import Vectorizer

    vectorizer = Vectorizer.load()
    question = vectorizer.embed_query("Wie packe ich ein Archiv aus?")
    answers = vectorizer.embed_documents(["tar extracts archives", "ls lists files"])
    print(answers.vectors @ question.vector)

Names are imported on first use, so that ``import lusifer`` costs milliseconds and needs none of the extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lusifer.bundle import Bundle, Manifest
    from lusifer.choices import LongTextPolicy, Role
    from lusifer.defaults import default_bundle
    from lusifer.engines.base import Engine
    from lusifer.engines.fake import FakeEngine, Faults
    from lusifer.engines.onnx import OnnxEngine
    from lusifer.errors import (
        BundleCorruptError,
        BundleError,
        BundleNotFoundError,
        BundleSchemaError,
        CollectionMismatchError,
        DeadlineExceededError,
        EngineBusyError,
        EngineError,
        EngineOutputError,
        EngineUnavailableError,
        FingerprintMismatchError,
        IndexCorruptError,
        IndexLockedError,
        IndexNotFoundError,
        InvalidDimensionError,
        InvalidInputError,
        InvalidTextError,
        KeyLimitError,
        LusiferError,
        MalformedRequestError,
        MethodNotAllowedError,
        MissingExtraError,
        NotReadyError,
        NotServedError,
        OverloadedError,
        RequestTooLargeError,
        RetryLaterError,
        ServiceError,
        SettingsError,
        StorageFullError,
        StoreBusyError,
        StoreError,
        StoreUnavailableError,
        TextTooLongError,
        UnauthorizedError,
        UnknownModelError,
    )
    from lusifer.qdrant.embedded import EmbeddedStore
    from lusifer.store import Document, Hit, SearchOptions, Store
    from lusifer.texts import check_text
    from lusifer.vectorizer import Embedding, Embeddings, Vectorizer

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleSchemaError",
    "CollectionMismatchError",
    "DeadlineExceededError",
    "Document",
    "EmbeddedStore",
    "Embedding",
    "Embeddings",
    "Engine",
    "EngineBusyError",
    "EngineError",
    "EngineOutputError",
    "EngineUnavailableError",
    "FakeEngine",
    "Faults",
    "FingerprintMismatchError",
    "Hit",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexNotFoundError",
    "InvalidDimensionError",
    "InvalidInputError",
    "InvalidTextError",
    "KeyLimitError",
    "LongTextPolicy",
    "LusiferError",
    "MalformedRequestError",
    "Manifest",
    "MethodNotAllowedError",
    "MissingExtraError",
    "NotReadyError",
    "NotServedError",
    "OnnxEngine",
    "OverloadedError",
    "RequestTooLargeError",
    "RetryLaterError",
    "Role",
    "SearchOptions",
    "ServiceError",
    "SettingsError",
    "StorageFullError",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "TextTooLongError",
    "UnauthorizedError",
    "UnknownModelError",
    "Vectorizer",
    "__version__",
    "check_text",
    "default_bundle",
]

_MODULE_OF = {
    "Bundle": "lusifer.bundle",
    "Document": "lusifer.store",
    "EmbeddedStore": "lusifer.qdrant.embedded",
    "Embedding": "lusifer.vectorizer",
    "Embeddings": "lusifer.vectorizer",
    "Engine": "lusifer.engines.base",
    "FakeEngine": "lusifer.engines.fake",
    "Faults": "lusifer.engines.fake",
    "Hit": "lusifer.store",
    "LongTextPolicy": "lusifer.choices",
    "Manifest": "lusifer.bundle",
    "OnnxEngine": "lusifer.engines.onnx",
    "Role": "lusifer.choices",
    "SearchOptions": "lusifer.store",
    "Store": "lusifer.store",
    "Vectorizer": "lusifer.vectorizer",
    "check_text": "lusifer.texts",
    "default_bundle": "lusifer.defaults",
}


def __getattr__(name: str) -> object:
    """Import an exported name from its module on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'lusifer' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF.get(name, "lusifer.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
