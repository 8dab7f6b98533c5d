from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any

import pytest

from lusifer import errors

pytest.importorskip("qdrant_client")

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from lusifer.qdrant.connection import client_errors, connect, connect_by_environment


def answered(
    status: int, error: str | None, headers: dict[str, str] | None = None
) -> UnexpectedResponse:
    content = b"<html>" if error is None else json.dumps({"status": {"error": error}}).encode()
    return UnexpectedResponse(status, "reason", content, httpx.Headers(headers or {}))


class Failed(grpc.RpcError):  # type: ignore[misc]
    """Error that a call over gRPC raises."""

    def __init__(self, code: str, details: str, **metadata: str) -> None:
        super().__init__()
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> Any:
        return getattr(grpc.StatusCode, self._code)

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return tuple((name.replace("_", "-"), value) for name, value in self._metadata.items())


INFERENCE = "Inference error: InferenceService URL not configured"
CASES: list[tuple[Exception, type[errors.LusiferError], str]] = [
    (
        answered(404, "Not found: Collection `docs` doesn't exist!"),
        errors.IndexNotFoundError,
        "no collection 'docs'",
    ),
    (
        answered(404, "Not found: No point with id 7 found"),
        errors.InvalidInputError,
        "No point with id 7",
    ),
    (
        answered(400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
        errors.CollectionMismatchError,
        "dim: 4",
    ),
    (
        answered(400, "Wrong input: Not existing vector name error: lusifer"),
        errors.CollectionMismatchError,
        "vector name",
    ),
    (
        answered(400, "Wrong input: something else"),
        errors.InvalidInputError,
        "refused (400): Wrong input",
    ),
    (answered(401, "Must provide an API key"), errors.UnauthorizedError, "Must provide an API key"),
    (answered(403, "Forbidden"), errors.UnauthorizedError, "Forbidden"),
    (
        answered(429, "Rate limiting exceeded", {"retry-after": "7"}),
        errors.StoreBusyError,
        "Rate limiting exceeded",
    ),
    (
        answered(500, "Service internal error: No space left on device: WAL"),
        errors.StorageFullError,
        "disk is full",
    ),
    (
        answered(500, "Service internal error: Failed to send inference request"),
        errors.StoreUnavailableError,
        "inference",
    ),
    (answered(502, None), errors.StoreUnavailableError, "502: <html>"),
    (
        ResponseHandlingException(httpx.ConnectError("refused")),
        errors.StoreUnavailableError,
        "refused",
    ),
    (ResponseHandlingException(httpx.ReadTimeout("")), errors.StoreUnavailableError, "ReadTimeout"),
    (ResourceExhaustedResponse("slow", 3), errors.StoreBusyError, "slow down"),
    (
        Failed("NOT_FOUND", "Not found: Collection `docs` doesn't exist!"),
        errors.IndexNotFoundError,
        "no collection 'docs'",
    ),
    (
        Failed("INVALID_ARGUMENT", "Vector dimension error"),
        errors.CollectionMismatchError,
        "dimension error",
    ),
    (Failed("FAILED_PRECONDITION", "other"), errors.InvalidInputError, "other"),
    (Failed("UNAUTHENTICATED", "no key"), errors.UnauthorizedError, "no key"),
    (Failed("PERMISSION_DENIED", "a key"), errors.UnauthorizedError, "a key"),
    (Failed("RESOURCE_EXHAUSTED", "slow", retry_after="9"), errors.StoreBusyError, "slow"),
    (Failed("UNAVAILABLE", "failed to connect"), errors.StoreUnavailableError, "failed to connect"),
    (Failed("INTERNAL", INFERENCE), errors.StoreUnavailableError, "not configured"),
    (ValueError("Collection docs not found"), errors.IndexNotFoundError, "no collection 'docs'"),
]


@pytest.mark.parametrize(("raised", "kind", "said"), CASES, ids=lambda each: str(each)[:40])
def test_each_error_of_the_client_becomes_one_of_ours(
    raised: Exception, kind: type[errors.LusiferError], said: str
) -> None:
    with pytest.raises(errors.LusiferError) as caught, client_errors("docs"):
        raise raised
    assert type(caught.value) is kind
    assert said in caught.value.message
    assert caught.value.next_step
    assert caught.value.__cause__ is raised


def test_other_errors_go_through() -> None:
    for raised in (
        ValueError("a mistake of the program"),
        KeyboardInterrupt(),
        errors.StorageFullError("x", next_step="y"),
    ):
        with pytest.raises(type(raised)) as caught, client_errors("docs"):
            raise raised
        assert caught.value is raised


@pytest.mark.parametrize(
    ("raised", "wait_s"),
    [
        (answered(429, "slow", {"retry-after": "7"}), 7.0),
        (answered(429, "slow"), 1.0),
        (ResourceExhaustedResponse("slow", 3), 3.0),
        (Failed("RESOURCE_EXHAUSTED", "slow", retry_after="9"), 9.0),
        (Failed("RESOURCE_EXHAUSTED", "slow"), 1.0),
    ],
    ids=["header", "no header", "client", "grpc header", "grpc"],
)
def test_a_busy_server_says_when_to_come_back(raised: Exception, wait_s: float) -> None:
    with pytest.raises(errors.StoreBusyError) as caught, client_errors("docs"):
        raise raised
    assert caught.value.retry_after_s == wait_s
    assert caught.value.retryable


def test_which_errors_a_retry_can_help() -> None:
    retryable = set()
    for raised, kind, _ in CASES:
        with pytest.raises(errors.LusiferError) as caught, client_errors("docs"):
            raise raised
        if caught.value.retryable:
            retryable.add(kind)
    assert retryable == {errors.StoreBusyError, errors.StoreUnavailableError}


@pytest.mark.parametrize("url", ["localhost:6333", "", "ftp://host", "http://host:port"])
def test_an_address_that_cannot_be_used(url: str) -> None:
    with pytest.raises(errors.InvalidInputError, match="can't be used") as caught:
        connect(url)
    assert "http://HOST:6333" in caught.value.next_step


@pytest.mark.parametrize("over_grpc", [False, True])
def test_a_server_that_does_not_answer(over_grpc: bool) -> None:
    client = connect("http://127.0.0.1:9", grpc=over_grpc, timeout_s=5)
    # The gRPC port is a setting of its own; on the usual one there is no Qdrant either.
    client._client._grpc_port = 9
    try:
        with pytest.raises(errors.StoreUnavailableError), client_errors("docs"):
            client.get_collection("docs")
    finally:
        client.close()


def test_a_missing_client_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(errors.MissingExtraError) as caught:
        connect("http://localhost:6333")
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step


def test_the_port_of_grpc_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_GRPC_PORT", "16334")
    with closing(connect_by_environment("http://localhost:6333", grpc=True)) as client:
        assert client._client._grpc_port == 16334  # type: ignore[attr-defined]
    monkeypatch.setenv("QDRANT_GRPC_PORT", "six")
    with pytest.raises(errors.InvalidInputError, match="QDRANT_GRPC_PORT is 'six'"):
        connect_by_environment("http://localhost:6333")
