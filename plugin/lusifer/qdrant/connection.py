"""The door to ``qdrant-client``: connecting, and its errors in our tree.

Everything we write is an upsert with ids of our own, so a request whose answer was lost may be sent
again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lusifer.common.retry import retry_after_s
from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    MissingExtraError,
    StorageFullError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["connect", "connect_by_environment", "import_client", "qdrant_errors"]

TIMEOUT_S = 120
"""The client's own default, 5 s, is less than a server needs to have a full batch embedded."""

_FULL_WORDS = ("no space left", "out of disk", "disk space", "disk quota")


def import_client() -> Any:
    """The module ``qdrant_client``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import qdrant_client
    except ImportError as error:
        raise MissingExtraError(
            f"A Qdrant server needs qdrant-client: {error}.",
            next_step="Run pip install 'lusifer[qdrant]'.",
        ) from error
    return qdrant_client


def connect(
    url: str, *, api_key: str | None = None, grpc: bool = False, timeout_s: int = TIMEOUT_S
) -> Any:
    """A client of a server.

    Args:
        url: Such as ``http://localhost:6333``.
        api_key: Qdrant's own key.
        grpc: Use gRPC (port 6334) where the client can.
        timeout_s: For one request; it must cover embedding, where the server has texts embedded.

    Raises:
        InvalidInputError: The address can't be used.
        MissingExtraError: ``qdrant-client`` is not installed.
    """
    client = import_client()
    unusable = InvalidInputError(
        f"Qdrant's address {url!r} can't be used.", next_step="Write it as http://HOST:6333."
    )
    if not url.startswith(("http://", "https://")):
        raise unusable
    try:
        # cloud_inference only means: send documents as they are, to whatever the server has behind
        # it.
        return client.QdrantClient(
            url=url,
            api_key=api_key,
            prefer_grpc=grpc,
            timeout=timeout_s,
            cloud_inference=True,
            check_compatibility=False,
        )
    except ValueError as error:
        raise unusable from error


def connect_by_environment(url: str, *, grpc: bool = False, timeout_s: int = TIMEOUT_S) -> Any:
    """As :func:`connect`, with the key in ``QDRANT_API_KEY``."""
    return connect(url, api_key=os.environ.get("QDRANT_API_KEY"), grpc=grpc, timeout_s=timeout_s)


@contextmanager
def qdrant_errors(collection: str) -> Iterator[None]:
    """Run calls of the client; whatever they raise leaves as an error of our tree.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The server refuses a vector because of the collection's schema.
        InvalidInputError: The server refuses the request.
        UnauthorizedError: The key is missing or wrong.
        StoreBusyError: Asked to slow down.
        StoreUnavailableError: No answer, or a server error.
        StorageFullError: The server's disk is full.
    """
    import_client()
    import grpc
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except ResourceExhaustedResponse as error:
        raise _busy(str(error), error.retry_after_s) from error
    except UnexpectedResponse as error:
        raise _refused(error.status_code or 500, _said(error), error.headers, collection) from error
    except ResponseHandlingException as error:
        reason = str(error.source) or type(error.source).__name__
        raise _unavailable(reason) from error
    except grpc.RpcError as error:
        raise _grpc_failed(grpc, error, collection) from error
    except ValueError as error:
        # The client's local mode raises nothing else.
        if "not found" in str(error):
            raise _not_found(collection) from error
        raise


def _said(error: Any) -> str:
    try:
        status = error.structured()["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (ValueError, KeyError, TypeError):
        return bytes(error.content).decode("utf-8", "replace")[:200] or "no message"


def _refused(status: int, message: str, headers: Any, collection: str) -> LusiferError:
    lower = message.lower()
    if status == 404 and ("collection" in lower or message == "no message"):
        return _not_found(collection)
    if status == 429:
        return _busy(message, retry_after_s(headers or {}))
    if status in {401, 403}:
        return UnauthorizedError(
            f"Qdrant refuses the key: {message}",
            next_step="Set QDRANT_API_KEY to a key that may do this.",
        )
    if any(word in lower for word in _FULL_WORDS):
        return StorageFullError(
            f"Qdrant's disk is full: {message}.",
            next_step="Free space there and run again; what was acknowledged is kept.",
        )
    if status >= 500:
        return _unavailable(f"{status}: {message}")
    if "dimension error" in lower or "vector name" in lower:
        return CollectionMismatchError(
            f"The collection {collection} does not take these vectors: {message}",
            next_step=f"Look at it with: lusifer doctor qdrant URL --collection {collection}",
        )
    return InvalidInputError(
        f"Qdrant refused ({status}): {message}",
        next_step=f"lusifer doctor qdrant URL --collection {collection} lists limits that bite.",
    )


def _grpc_failed(grpc: Any, error: Any, collection: str) -> LusiferError:
    code, details = error.code(), str(error.details() or "no message")
    status = {
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    }.get(code, 500)
    metadata = {str(key): str(value) for key, value in (error.trailing_metadata() or ())}
    return _refused(status, details, metadata, collection)


def _busy(message: str, wait_s: float | None) -> StoreBusyError:
    return StoreBusyError(
        f"Qdrant asks to slow down: {message.strip()}",
        next_step="Run again later: what was acknowledged is kept.",
        retry_after_s=1.0 if wait_s is None else wait_s,
    )


def _unavailable(reason: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"Qdrant did not do it ({reason}).",
        next_step="Look into Qdrant's log, then run again: what was acknowledged is kept.",
    )


def _not_found(collection: str) -> StoreError:
    return IndexNotFoundError(
        f"Qdrant has no collection {collection!r}.",
        next_step=f"Make it with: lusifer qdrant setup URL --collection {collection}",
    )
