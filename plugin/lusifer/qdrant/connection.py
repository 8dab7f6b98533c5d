"""Connections to a Qdrant server, and the errors of ``qdrant-client`` as ours.

Everything we write is an upsert with ids of our own, so a request whose answer was lost may be sent
again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.common.retry import retry_after_s
from lusifer.common.urls import has_key
from lusifer.errors import InvalidInputError, LusiferError, StoreError
from lusifer.stores.server_errors import ServerErrors, missing_package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    import grpc
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import UnexpectedResponse

__all__ = [
    "TIMEOUT_S",
    "client_errors",
    "connect",
    "connect_by_environment",
    "import_client",
    "not_found",
    "refused",
]

GRPC_PORT = 6334
"""Qdrant's usual port of gRPC."""
TIMEOUT_S = 120
"""Default timeout of a request. The client's own default, 5 s, is less than a server needs to have
a full batch embedded."""

_ERRORS = ServerErrors("Qdrant", command="qdrant", key_variable="QDRANT_API_KEY")

_FULL_WORDS = ("no space left", "out of disk", "disk space", "disk quota")


def import_client() -> ModuleType:
    """Return the module ``qdrant_client``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import qdrant_client
    except ImportError as error:
        raise missing_package("A Qdrant server", "qdrant-client", error, extra="qdrant") from error
    return qdrant_client


def connect(
    url: str,
    *,
    api_key: str | None = None,
    grpc: bool = False,
    grpc_port: int = GRPC_PORT,
    timeout_s: int = TIMEOUT_S,
) -> QdrantClient:
    """Return a client of a server.

    Args:
        url: Address of the server, such as ``http://localhost:6333``.
        api_key: Qdrant's own key.
        grpc: Use gRPC where the client can.
        grpc_port: Port of gRPC.
        timeout_s: Timeout of one request. It must cover embedding where the server has texts
            embedded.

    Raises:
        InvalidInputError: The address can't be used.
        MissingExtraError: ``qdrant-client`` is not installed.
    """
    import_client()
    from qdrant_client import QdrantClient

    # A key in the address would be ignored, and shown in the client's errors.
    if not url.startswith(("http://", "https://")) or has_key(url):
        raise _ERRORS.unusable_address(url, port=6333)
    try:
        # cloud_inference only means: send documents as they are, to whatever inference the server
        # has.
        return QdrantClient(
            url=url,
            api_key=api_key,
            prefer_grpc=grpc,
            grpc_port=grpc_port,
            timeout=timeout_s,
            cloud_inference=True,
            check_compatibility=False,
        )
    except ValueError as error:
        raise _ERRORS.unusable_address(url, port=6333) from error


def connect_by_environment(
    url: str, *, grpc: bool = False, timeout_s: int = TIMEOUT_S
) -> QdrantClient:
    """Return a client of a server as the environment describes it; see :func:`connect`.

    Read are ``QDRANT_API_KEY`` and ``QDRANT_GRPC_PORT``. Raises as :func:`connect`.
    """
    port = os.environ.get("QDRANT_GRPC_PORT") or str(GRPC_PORT)
    if not port.isdecimal():
        raise InvalidInputError(f"QDRANT_GRPC_PORT is {port!r}.", next_step="Set it to a number.")
    return connect(
        url,
        api_key=os.environ.get("QDRANT_API_KEY"),
        grpc=grpc,
        grpc_port=int(port),
        timeout_s=timeout_s,
    )


@contextmanager
def client_errors(collection: str) -> Iterator[None]:
    """Turn whatever calls of the client raise into errors of :mod:`lusifer.errors`.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The server refuses a vector because of the collection's schema.
        InvalidInputError: The server refuses the request.
        UnauthorizedError: The key is missing or wrong.
        StoreBusyError: The server asks to slow down.
        StoreUnavailableError: The server does not answer, or reports an error of its own.
        StorageFullError: The server's disk is full.
    """
    import_client()
    import grpc
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except ResourceExhaustedResponse as error:
        raise _ERRORS.busy(str(error), error.retry_after_s) from error
    except UnexpectedResponse as error:
        status = error.status_code or 500
        raise refused(
            _message_of(error), collection, status=status, headers=error.headers
        ) from error
    except ResponseHandlingException as error:
        reason = str(error.source) or type(error.source).__name__
        raise _ERRORS.unavailable(reason) from error
    except grpc.RpcError as error:
        raise _grpc_failed(error, collection) from error
    except ValueError as error:
        # The client's local mode raises nothing else.
        if "not found" in str(error):
            raise not_found(collection) from error
        raise


def refused(
    message: str, collection: str, *, status: int, headers: Mapping[str, str] | None = None
) -> LusiferError:
    """Return our error for a refusal by the server.

    Args:
        message: What the server says.
        collection: The collection that was asked for.
        status: HTTP status of the answer.
        headers: Headers of the answer, for ``Retry-After``.
    """
    lower = message.lower()
    if status == 404 and ("collection" in lower or message == "no message"):
        return not_found(collection)
    if status == 429:
        return _ERRORS.busy(message, retry_after_s(headers or {}))
    if status in {401, 403}:
        return _ERRORS.unauthorized(message)
    if any(word in lower for word in _FULL_WORDS):
        return _ERRORS.full(message)
    if status >= 500:
        return _ERRORS.unavailable(f"{status}: {message}")
    if "dimension error" in lower or "vector name" in lower:
        return _ERRORS.wrong_vectors(collection, message)
    return InvalidInputError(
        f"Qdrant refused ({status}): {message}",
        next_step=f"List the limits that apply with: {_ERRORS.doctor(collection)}",
    )


def not_found(collection: str) -> StoreError:
    """Return the error for a collection that the server does not have."""
    return _ERRORS.not_found(collection)


def _message_of(error: UnexpectedResponse) -> str:
    try:
        status = error.structured()["status"]
        return str(status["error"] if isinstance(status, dict) else status)
    except (ValueError, KeyError, TypeError):
        return bytes(error.content).decode("utf-8", "replace")[:200] or "no message"


def _grpc_failed(error: grpc.RpcError, collection: str) -> LusiferError:
    import grpc

    message = str(error.details() or "no message")
    status = {
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    }.get(error.code(), 500)
    headers = {str(key): str(value) for key, value in (error.trailing_metadata() or ())}
    return refused(message, collection, status=status, headers=headers)
