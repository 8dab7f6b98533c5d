"""Connection to a Weaviate server, and the client's errors as :class:`LusiferError`."""

from __future__ import annotations

import logging
import os
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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
    from types import ModuleType

    from weaviate import WeaviateClient

__all__ = [
    "TIMEOUT_S",
    "client_errors",
    "connect",
    "connect_by_environment",
    "import_client",
    "not_found",
    "refused",
]

TIMEOUT_S = 120
"""Time limit of an insert. It must cover embedding, where the server has texts embedded."""

_AWAY = (
    "unavailable",
    "connection",
    "timeout",
    "deadline",
    "leader not found",
    "socket closed",
    "shutting down",
    "eof",
    "reset",
)
_FULL = ("read-only", "read only", "no space left", "disk usage")
_SCHEMA = ("vector length", "vector dimensions", "dimensions", "invalid vector", "no vectorizer")
_VALIDATED = (
    "refusing to dial internal address",
    "baseurl must use https",
    "baseurl cannot target internal",
)
_EMBEDDING = (
    "remote client vectorize",
    "connection to cohere failed",
    "fail with status",
    "send post request",
    "failed to parse vectorization",
    "no api key found",
)
"""Words of Weaviate's messages when the service behind its module failed, not Weaviate."""
_GRPC_ERROR = re.compile(r'status = StatusCode\.(\w+)\s+details = "([^"]*)"')
_ALL_FAILED = "Every object failed during insertion. Here is the set of all errors: "
_BODY_MESSAGE = re.compile(r"""'message': (?:'([^']*)'|"([^"]*)")""")


def import_client() -> ModuleType:
    """Return the module ``weaviate``.

    Raises:
        MissingExtraError: ``weaviate-client`` is not installed.
    """
    try:
        with warnings.catch_warnings():
            # A dependency of the client (4.23) gives a deprecation warning on import.
            warnings.simplefilter("ignore", DeprecationWarning)
            import weaviate
    except ImportError as error:
        raise MissingExtraError(
            f"A Weaviate server needs weaviate-client: {error}.",
            next_step="Run pip install 'lusifer[weaviate]'.",
        ) from error
    return weaviate


def connect(
    url: str,
    *,
    api_key: str | None = None,
    grpc_port: int | None = None,
    cohere_key: str | None = None,
) -> WeaviateClient:
    """Connect a client to a server.

    Args:
        url: Address of the server's REST API, such as ``http://localhost:8080``.
        api_key: Weaviate's own key.
        grpc_port: Port of its gRPC API on the same host. None is 443 for https, else 50051.
        cohere_key: Key for our service, sent along for collections with the module
            ``text2vec-cohere``.

    Raises:
        InvalidInputError: The address can't be used.
        StoreUnavailableError: Nothing answers there.
        UnauthorizedError: The key is missing or wrong.
        MissingExtraError: ``weaviate-client`` is not installed.
    """
    import_client()
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise InvalidInputError(
            f"Weaviate's address {url!r} can't be used.", next_step="Write it as http://HOST:8080."
        )
    secure = parts.scheme == "https"
    from weaviate import connect_to_custom
    from weaviate.classes.init import AdditionalConfig, Auth, Timeout

    with client_errors(""):
        return connect_to_custom(
            http_host=parts.hostname,
            http_port=port or (443 if secure else 8080),
            http_secure=secure,
            grpc_host=parts.hostname,
            grpc_port=grpc_port or (443 if secure else 50051),
            grpc_secure=secure,
            auth_credentials=Auth.api_key(api_key) if api_key else None,
            headers={"X-Cohere-Api-Key": cohere_key} if cohere_key else None,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=10, query=60, insert=TIMEOUT_S)
            ),
        )


def connect_by_environment(url: str) -> WeaviateClient:
    """Connect a client with the keys and the port of the environment.

    Read are ``WEAVIATE_API_KEY``, ``WEAVIATE_GRPC_PORT`` and ``LUSIFER_API_KEY``. Raises as
    :func:`connect`.
    """
    # The client logs each retry with a page of text; our stores log it in one line.
    logging.getLogger("weaviate-client").setLevel(logging.WARNING)
    port = os.environ.get("WEAVIATE_GRPC_PORT")
    if port is not None and not port.isdigit():
        raise InvalidInputError(f"WEAVIATE_GRPC_PORT is {port!r}.", next_step="Set it to a number.")
    return connect(
        url,
        api_key=os.environ.get("WEAVIATE_API_KEY"),
        grpc_port=int(port) if port else None,
        cohere_key=os.environ.get("LUSIFER_API_KEY"),
    )


@contextmanager
def client_errors(collection: str) -> Iterator[None]:
    """Run calls of the client and raise each of its errors as a :class:`LusiferError`.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The server refuses a vector because of the collection's schema, or
            lacks a module or a tokenizer that the schema needs.
        InvalidInputError: The server or the client refuses the request.
        UnauthorizedError: The key is missing or wrong, Weaviate's or the service's.
        StoreBusyError: The service behind the server's module asks to slow down.
        StoreUnavailableError: Weaviate, or the service behind its module, gave no answer or a
            server error.
        StorageFullError: The server's shards are read-only, as on a full disk.
    """
    import_client()
    from grpc import RpcError
    from httpx import TransportError
    from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError

    try:
        yield
    except UnexpectedStatusCodeError as error:
        status = getattr(error, "status_code", 0) or 0
        if status in {401, 403}:
            raise UnauthorizedError(
                f"Weaviate refuses the key: {_short(error)}",
                next_step="Set WEAVIATE_API_KEY to a key with access.",
            ) from error
        if status == 404:
            raise not_found(collection) from error
        raise refused(_short(error), collection, server=status >= 500) from error
    except WeaviateBaseError as error:
        raise refused(_short(error), collection) from error
    except (TransportError, RpcError) as error:
        raise refused(f"connection: {_short(error)}", collection) from error


def refused(message: str, collection: str, *, server: bool = False) -> LusiferError:
    """Return the :class:`LusiferError` for a message of the server.

    Args:
        message: The server's message.
        collection: Collection of the request.
        server: Whether the HTTP status says that the fault is the server's.
    """
    lower = message.lower()
    look = f"lusifer doctor weaviate URL --collection {collection}"
    if "could not find class" in lower or ("collection" in lower and "not found" in lower):
        return not_found(collection)
    if found := re.search(r'no module with name "([^"]+)"', message):
        return CollectionMismatchError(
            f"Weaviate's module {found[1]} is off: {message}",
            next_step=f"Start the server with ENABLE_MODULES={found[1]} in its environment.",
        )
    if found := re.search(r"set '(ENABLE_TOKENIZER_\w+)'", message):
        return CollectionMismatchError(
            f"Weaviate refused: {message}",
            next_step=f"Start the server with {found[1]}=true in its environment, or choose "
            "trigram.",
        )
    if found := re.search(r"tenant not active: '([^']*)'", message):
        return StoreError(
            f"The tenant {found[1]} of the collection {collection} is not active.",
            next_step="Activate it with Weaviate's client: "
            f"collection.tenants.activate({found[1]!r}).",
        )
    if any(word in lower for word in _VALIDATED):
        return CollectionMismatchError(
            f"Weaviate may not reach the service: {message}",
            next_step="Start the server without MODULES_VALIDATE_BASE_URL, which refuses private "
            "addresses.",
        )
    if any(word in lower for word in _EMBEDDING):
        return _not_embedded(message, look)
    if "manually set" in lower:
        return StoreBusyError(
            f"Weaviate refuses writes to {collection}: {message}",
            next_step="Write again when its shards are READY: lusifer reindex switch --hold-writes "
            "sets them to READONLY for a while.",
            retry_after_s=1.0,
        )
    if any(word in lower for word in _FULL):
        return StorageFullError(
            f"Weaviate takes no writes: {message}",
            next_step="Free space there (DISK_USE_READONLY_PERCENTAGE) and run again: nothing is "
            "lost.",
        )
    if any(word in lower for word in _SCHEMA):
        return CollectionMismatchError(
            f"The collection {collection} does not take these vectors: {message}",
            next_step=f"Examine it with: {look}",
        )
    if server or any(word in lower for word in _AWAY):
        return StoreUnavailableError(
            f"Weaviate request failed: {message}",
            next_step="Look into Weaviate's log, then run again: acknowledged writes are kept.",
        )
    return InvalidInputError(
        f"Weaviate refused: {message}", next_step=f"See what the collection takes with: {look}"
    )


def _not_embedded(message: str, look: str) -> LusiferError:
    failure = f"The service behind Weaviate's module did not embed: {message}"
    found = re.search(r"\bstatus:? (\d{3})", message)
    status = int(found[1]) if found else 0
    if status == 401 or "no api key found" in message.lower():
        return UnauthorizedError(
            failure,
            next_step="Give the server a key in COHERE_APIKEY (any, where the service asks for "
            "none), or in the address: http://any:KEY@HOST:8000.",
        )
    if status in {429, 503}:
        return StoreBusyError(
            failure, next_step="Send less at once, then run again.", retry_after_s=1.0
        )
    if 400 <= status < 500:
        return InvalidInputError(
            failure, next_step=f"Look at the text, and at the service with: {look}"
        )
    if status == 200:
        return CollectionMismatchError(
            failure, next_step=f"Start lusifer serve at that address, then check with: {look}"
        )
    return StoreUnavailableError(
        failure,
        next_step=f"Look at lusifer serve and its log ({look}), then run again: nothing is lost.",
    )


def not_found(collection: str) -> StoreError:
    """Return the error for a collection that the server does not have."""
    return IndexNotFoundError(
        f"Weaviate has no collection {collection!r}.",
        next_step=f"Make it with: lusifer weaviate setup URL --collection {collection}. If it is "
        "missing after a restart, add its module to ENABLE_MODULES again: Weaviate does not load a "
        "collection without its module.",
    )


def _short(error: BaseException) -> str:
    """Return the server's own words of a client error, on one line of at most 500 characters."""
    message = str(getattr(error, "message", None) or str(error) or type(error).__name__)
    if inner := [one or other for one, other in _BODY_MESSAGE.findall(message)]:
        message = "; ".join(inner)
    if found := _GRPC_ERROR.search(message):
        message = f"{found[2]} ({found[1]})"
    return " ".join(message.removeprefix(_ALL_FAILED).split())[:500]
