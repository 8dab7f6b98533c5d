"""LUSIFER: texts of any language as unit vectors, for Qdrant and Weaviate.

::

    from lusifer import Vectorizer

    vectorizer = Vectorizer.load()
    question = vectorizer.embed_query("Wie packe ich ein Archiv aus?")
    answers = vectorizer.embed_documents(["tar extracts archives", "ls lists files"])
    print(answers.vectors @ question.vector)

Names are imported on first use, so that ``import lusifer`` costs milliseconds and needs none of the
extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lusifer._version import __version__

if TYPE_CHECKING:
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle, Manifest
    from lusifer.common.validation import check_text
    from lusifer.embedded.store import EmbeddedStore
    from lusifer.embedding.vectorizer import Vectorizer
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
        JobLockedError,
        JobNotFoundError,
        KeyLimitError,
        LusiferError,
        MalformedRequestError,
        MethodNotAllowedError,
        MissingExtraError,
        NotReadyError,
        NotServedError,
        OverloadedError,
        PlanError,
        QualityGateError,
        ReindexError,
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
    from lusifer.stores.base import Store
    from lusifer.types import (
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
    "JobLockedError",
    "JobNotFoundError",
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
    "PlanError",
    "QualityGateError",
    "ReindexError",
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
    "Bundle": "lusifer.bundle.format",
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
    if name not in __all__:
        raise AttributeError(f"module 'lusifer' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF.get(name, "lusifer.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
