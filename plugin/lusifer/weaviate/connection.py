"""The door to ``weaviate-client``: connecting, and its errors in our tree."""

from __future__ import annotations

import logging
import os
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
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

__all__ = [
    "connect",
    "connect_by_environment",
    "import_weaviate",
    "not_found",
    "refused",
    "weaviate_errors",
]

TIMEOUT_S = 120
"""For an insert; it must cover embedding, where the server has texts embedded."""

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
"""What Weaviate says when the service behind its module failed, not Weaviate."""
_GRPC_ERROR = re.compile(r'status = StatusCode\.(\w+)\s+details = "([^"]*)"')
_ALL_FAILED = "Every object failed during insertion. Here is the set of all errors: "
_BODY_MESSAGE = re.compile(r"""'message': (?:'([^']*)'|"([^"]*)")""")


def import_weaviate() -> Any:
    """The module ``weaviate``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            # A dependency of the client (4.23) warns of its own future on import.
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
) -> Any:
    """A client of a server.

    Args:
        url: Of its REST API, such as ``http://localhost:8080``.
        api_key: Weaviate's own key.
        grpc_port: Of its gRPC API on the same host; 50051 unless told, or 443 for https.
        cohere_key: What collections with the module ``text2vec-cohere`` send to our service as its
            key.

    Raises:
        InvalidInputError: The address can't be used.
        StoreUnavailableError: Nothing answers there.
        UnauthorizedError: The key is missing or wrong.
        MissingExtraError: ``weaviate-client`` is not installed.
    """
    weaviate = import_weaviate()
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
    from weaviate.classes.init import AdditionalConfig, Auth, Timeout

    with weaviate_errors(""):
        return weaviate.connect_to_custom(
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


def connect_by_environment(url: str) -> Any:
    """As :func:`connect`, with ``WEAVIATE_API_KEY``, ``WEAVIATE_GRPC_PORT`` and ``LUSIFER_API_KEY``."""
    # Its own notes on what it tries again are pages long; our stores say the same in one line.
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
def weaviate_errors(collection: str) -> Iterator[None]:
    """Run calls of the client; whatever they raise leaves as an error of our tree.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The server refuses a vector because of the collection's schema, or
            lacks what the schema needs.
        InvalidInputError: The server or the client refuses the request.
        UnauthorizedError: The key is missing or wrong, Weaviate's or the service's.
        StoreBusyError: The service behind the server's module asks to slow down.
        StoreUnavailableError: No answer, or a server error, from Weaviate or the service behind its
            module.
        StorageFullError: The server's shards are read-only, which is what a full disk makes them.
    """
    import_weaviate()
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
                next_step="Set WEAVIATE_API_KEY to a key that may.",
            ) from error
        if status == 404:
            raise not_found(collection) from error
        raise refused(_short(error), collection, server=status >= 500) from error
    except WeaviateBaseError as error:
        raise refused(_short(error), collection) from error
    except (TransportError, RpcError) as error:
        raise refused(f"connection: {_short(error)}", collection) from error


def refused(message: str, collection: str, *, server: bool = False) -> LusiferError:
    """The error of our tree for a sentence of the server's.

    Args:
        message: The sentence.
        collection: What it was about.
        server: Whether the status says that the fault is the server's.
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
            next_step=f"Start the server with {found[1]}=true in its environment, or choose trigram.",
        )
    if found := re.search(r"tenant not active: '([^']*)'", message):
        return StoreError(
            f"The tenant {found[1]} of the collection {collection} is not active.",
            next_step=f"Activate it: collection.tenants.activate({found[1]!r}) with Weaviate's client.",
        )
    if any(word in lower for word in _VALIDATED):
        return CollectionMismatchError(
            f"Weaviate may not reach the service: {message}",
            next_step="MODULES_VALIDATE_BASE_URL is on, which refuses private addresses: start the server "
            "without it.",
        )
    if any(word in lower for word in _EMBEDDING):
        return _not_embedded(message, look)
    if "manually set" in lower:
        return StoreBusyError(
            f"Weaviate refuses writes to {collection}: {message}",
            next_step="Its shards were set to READONLY, as lusifer reindex switch --hold-writes does for a "
            "while: write again when they are READY.",
            retry_after_s=1.0,
        )
    if any(word in lower for word in _FULL):
        return StorageFullError(
            f"Weaviate takes no writes: {message}",
            next_step="Free space there (DISK_USE_READONLY_PERCENTAGE) and run again: nothing is lost.",
        )
    if any(word in lower for word in _SCHEMA):
        return CollectionMismatchError(
            f"The collection {collection} does not take these vectors: {message}",
            next_step=f"Look at it with: {look}",
        )
    if server or any(word in lower for word in _AWAY):
        return StoreUnavailableError(
            f"Weaviate did not do it: {message}",
            next_step="Look into Weaviate's log, then run again: what was acknowledged is kept.",
        )
    return InvalidInputError(
        f"Weaviate refused: {message}", next_step=f"{look} shows what it takes."
    )


def _not_embedded(message: str, look: str) -> LusiferError:
    said = f"The service behind Weaviate's module did not embed: {message}"
    found = re.search(r"\bstatus:? (\d{3})", message)
    status = int(found[1]) if found else 0
    if status == 401 or "no api key found" in message.lower():
        return UnauthorizedError(
            said,
            next_step="Give the server a key in COHERE_APIKEY (any, where the service asks for none), or in "
            "the address: http://any:KEY@HOST:8000.",
        )
    if status in {429, 503}:
        return StoreBusyError(
            said, next_step="Send less at once, then run again.", retry_after_s=1.0
        )
    if 400 <= status < 500:
        return InvalidInputError(
            said, next_step=f"Look at the text, and at the service with: {look}"
        )
    if status == 200:
        return CollectionMismatchError(
            said, next_step=f"What answers there is no lusifer serve; look with: {look}"
        )
    return StoreUnavailableError(
        said,
        next_step=f"Look at lusifer serve and its log ({look}), then run again: nothing is lost.",
    )


def not_found(collection: str) -> StoreError:
    """The error for a collection that the server does not show."""
    return IndexNotFoundError(
        f"Weaviate has no collection {collection!r}.",
        next_step=f"Make it with: lusifer weaviate setup URL --collection {collection}. Is it gone after a "
        "restart, look whether its module is still in ENABLE_MODULES: Weaviate does not load it without.",
    )


def _short(error: BaseException) -> str:
    message = str(getattr(error, "message", None) or str(error) or type(error).__name__)
    if said := [one or other for one, other in _BODY_MESSAGE.findall(message)]:
        message = "; ".join(said)
    if found := _GRPC_ERROR.search(message):
        message = f"{found[2]} ({found[1]})"
    return " ".join(message.removeprefix(_ALL_FAILED).split())[:500]
