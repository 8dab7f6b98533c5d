"""Addresses, and the client's errors as ours, without a server."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from lusifer.errors import (
    IndexNotFoundError,
    InvalidInputError,
    MissingExtraError,
    StoreError,
    StoreUnavailableError,
    UnauthorizedError,
)

pytest.importorskip("weaviate")
from lusifer.weaviate.connection import (
    client_errors,
    connect,
    connect_by_environment,
    import_client,
)


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
        (StoreUnavailableError, "Weaviate request failed (boom)", answer(500, "boom")),
        (StoreUnavailableError, "failed", WeaviateConnectionError(no_connection)),
        (StoreUnavailableError, "connection: refused", httpx.ConnectError("refused")),
        (StoreUnavailableError, "gone", grpc.RpcError("gone")),
        (
            StoreUnavailableError,
            "failed (Socket closed (UNAVAILABLE))",
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


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record with what the client would connect."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("weaviate.connect_to_custom", lambda **options: made.append(options))
    return made


@pytest.mark.parametrize(
    ("url", "grpc_port", "expected"),
    [
        ("http://h", None, ("h", 8080, False, 50051)),
        ("http://h:9", None, ("h", 9, False, 50051)),
        ("https://h", None, ("h", 443, True, 443)),
        ("https://h:8443", 50052, ("h", 8443, True, 50052)),
    ],
)
def test_the_ports_of_an_address(
    connections: list[dict[str, Any]],
    url: str,
    grpc_port: int | None,
    expected: tuple[str, int, bool, int],
) -> None:
    connect(url, grpc_port=grpc_port, cohere_key="key")
    (made,) = connections
    assert (
        made["http_host"],
        made["http_port"],
        made["http_secure"],
        made["grpc_port"],
    ) == expected
    assert (made["grpc_host"], made["grpc_secure"]) == (expected[0], expected[2])
    assert (made["headers"], made["auth_credentials"]) == ({"X-Cohere-Api-Key": "key"}, None)
    assert made["additional_config"].timeout.insert == 120


def test_the_environment_of_a_connection(
    connections: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", "50053")
    monkeypatch.setenv("WEAVIATE_API_KEY", "weaviate's")
    monkeypatch.setenv("LUSIFER_API_KEY", "ours")
    connect_by_environment("http://h")
    (made,) = connections
    assert (made["grpc_port"], made["headers"]) == (50053, {"X-Cohere-Api-Key": "ours"})
    assert made["auth_credentials"].api_key == "weaviate's"
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", "x")
    with pytest.raises(InvalidInputError, match="WEAVIATE_GRPC_PORT is 'x'"):
        connect_by_environment("http://h")


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weaviate", None)
    with pytest.raises(MissingExtraError) as caught:
        import_client()
    assert caught.value.next_step == "Run pip install 'lusifer[weaviate]'."
