"""Addresses, and the client's errors as ours, without a server."""

from __future__ import annotations

import pytest

from lusifer.errors import (
    IndexNotFoundError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
    UnauthorizedError,
)

pytest.importorskip("weaviate")
from lusifer.weaviate.connection import client_errors, connect


def test_errors_of_the_client_become_ours() -> None:
    import grpc
    import httpx
    from weaviate.exceptions import (
        UnexpectedStatusCodeError,
        WeaviateBatchError,
        WeaviateConnectionError,
        WeaviateInsertManyAllFailedError,
    )

    def answer(status: int, message: str) -> Exception:
        body = {"error": [{"message": message}]}
        return UnexpectedStatusCodeError("It failed.", httpx.Response(status, json=body))

    socket_closed = (
        "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n"
        '\tdetails = "Socket closed"\n>'
    )
    not_active = "Here is the set of all errors: tenant not active: 'a'"
    no_connection = "Connection to Weaviate failed."
    for kind, part, raised in (
        (UnauthorizedError, "anonymous access", answer(401, "anonymous access not enabled")),
        (IndexNotFoundError, "no collection 'A'", answer(404, "?")),
        (InvalidInputError, "Weaviate refused: ", answer(422, 'module "x" is "off"')),
        (StoreUnavailableError, "Weaviate request failed: boom", answer(500, "boom")),
        (StoreUnavailableError, "failed", WeaviateConnectionError(no_connection)),
        (StoreUnavailableError, "connection: refused", httpx.ConnectError("refused")),
        (StoreUnavailableError, "gone", grpc.RpcError("gone")),
        (
            StoreUnavailableError,
            "failed: Socket closed (UNAVAILABLE)",
            WeaviateBatchError(socket_closed),
        ),
        (StoreError, "tenant a", WeaviateInsertManyAllFailedError(not_active)),
    ):
        with pytest.raises(kind) as caught, client_errors("A"):
            raise raised
        assert part in caught.value.message
        assert "Here is the set" not in caught.value.message
    with pytest.raises(ZeroDivisionError), client_errors("A"):
        _ = 1 / 0


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://x:port", "http://", ""])
def test_addresses_that_can_not_be_used(url: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be used"):
        connect(url)
