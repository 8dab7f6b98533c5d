"""Connection to a Weaviate server, and the client's errors as :class:`LusiferError`."""

from __future__ import annotations

import logging
import os
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lusifer.common.urls import has_key
from lusifer.errors import InvalidInputError
from lusifer.stores.server_errors import missing_package
from lusifer.weaviate.refusals import ERRORS, not_found, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from weaviate import WeaviateClient

__all__ = ["TIMEOUT_S", "client_errors", "connect", "connect_by_environment", "import_client"]

TIMEOUT_S = 120
"""Time limit of an insert. It must cover embedding, where the server has texts embedded."""

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
        raise missing_package(
            "A Weaviate server", "weaviate-client", error, extra="weaviate"
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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ERRORS.unusable_address(url, port=8080) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or has_key(url):
        raise ERRORS.unusable_address(url, port=8080)
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
            raise ERRORS.unauthorized(_short(error)) from error
        if status == 404:
            raise not_found(collection) from error
        raise refused(_short(error), collection, server=status >= 500) from error
    except WeaviateBaseError as error:
        raise refused(_short(error), collection) from error
    except (TransportError, RpcError) as error:
        raise refused(f"connection: {_short(error)}", collection) from error


def _short(error: BaseException) -> str:
    """Return the server's own words of a client error, on one line of at most 500 characters."""
    message = str(getattr(error, "message", None) or str(error) or type(error).__name__)
    if inner := [one or other for one, other in _BODY_MESSAGE.findall(message)]:
        message = "; ".join(inner)
    if found := _GRPC_ERROR.search(message):
        message = f"{found[2]} ({found[1]})"
    return " ".join(message.removeprefix(_ALL_FAILED).split())[:500]
