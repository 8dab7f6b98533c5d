"""The client's errors in our tree, and what is waited for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    MissingExtraError,
    StorageFullError,
    StoreBusyError,
    StoreUnavailableError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("qdrant_client")

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from lusifer.common import retry
from lusifer.common.retry import call_with_retry
from lusifer.qdrant.connection import client_errors, connect


def answered(
    status: int, error: str | None, headers: dict[str, str] | None = None
) -> UnexpectedResponse:
    content = b"<html>" if error is None else json.dumps({"status": {"error": error}}).encode()
    return UnexpectedResponse(status, "reason", content, httpx.Headers(headers or {}))


class Failed(grpc.RpcError):  # type: ignore[misc]
    """What a call over gRPC raises."""

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
CASES: list[tuple[Exception, type[LusiferError], str]] = [
    (
        answered(404, "Not found: Collection `docs` doesn't exist!"),
        IndexNotFoundError,
        "no collection 'docs'",
    ),
    (answered(404, "Not found: No point with id 7 found"), InvalidInputError, "No point with id 7"),
    (
        answered(400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
        CollectionMismatchError,
        "dim: 4",
    ),
    (
        answered(400, "Wrong input: Not existing vector name error: lusifer"),
        CollectionMismatchError,
        "vector name",
    ),
    (answered(400, "Wrong input: something else"), InvalidInputError, "refused (400): Wrong input"),
    (answered(401, "Must provide an API key"), UnauthorizedError, "Must provide an API key"),
    (answered(403, "Forbidden"), UnauthorizedError, "Forbidden"),
    (
        answered(429, "Rate limiting exceeded", {"retry-after": "7"}),
        StoreBusyError,
        "Rate limiting exceeded",
    ),
    (
        answered(500, "Service internal error: No space left on device: WAL"),
        StorageFullError,
        "disk is full",
    ),
    (
        answered(500, "Service internal error: Failed to send inference request"),
        StoreUnavailableError,
        "inference",
    ),
    (answered(502, None), StoreUnavailableError, "502: <html>"),
    (ResponseHandlingException(httpx.ConnectError("refused")), StoreUnavailableError, "refused"),
    (ResponseHandlingException(httpx.ReadTimeout("")), StoreUnavailableError, "ReadTimeout"),
    (ResourceExhaustedResponse("slow", 3), StoreBusyError, "slow down"),
    (
        Failed("NOT_FOUND", "Not found: Collection `docs` doesn't exist!"),
        IndexNotFoundError,
        "no collection 'docs'",
    ),
    (
        Failed("INVALID_ARGUMENT", "Vector dimension error"),
        CollectionMismatchError,
        "dimension error",
    ),
    (Failed("FAILED_PRECONDITION", "other"), InvalidInputError, "other"),
    (Failed("UNAUTHENTICATED", "no key"), UnauthorizedError, "no key"),
    (Failed("PERMISSION_DENIED", "a key"), UnauthorizedError, "a key"),
    (Failed("RESOURCE_EXHAUSTED", "slow", retry_after="9"), StoreBusyError, "slow"),
    (Failed("UNAVAILABLE", "failed to connect"), StoreUnavailableError, "failed to connect"),
    (Failed("INTERNAL", INFERENCE), StoreUnavailableError, "not configured"),
    (ValueError("Collection docs not found"), IndexNotFoundError, "no collection 'docs'"),
]


@pytest.mark.parametrize(("raised", "kind", "said"), CASES, ids=lambda each: str(each)[:40])
def test_every_failure_of_the_client_becomes_an_error_of_ours(
    raised: Exception, kind: type[LusiferError], said: str
) -> None:
    with pytest.raises(LusiferError) as caught, client_errors("docs"):
        raise raised
    assert type(caught.value) is kind
    assert said in caught.value.message
    assert caught.value.next_step
    assert caught.value.__cause__ is raised


def test_what_is_no_failure_of_the_server_goes_through() -> None:
    for raised in (
        ValueError("a mistake of the program"),
        KeyboardInterrupt(),
        StorageFullError("x", next_step="y"),
    ):
        with pytest.raises(type(raised)) as caught, client_errors("docs"):
            raise raised
        assert caught.value is raised


class Clock:
    """Time that passes only while something sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        self.now_s += wait_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(retry, "time", made)
    return made


def failing(*errors: Exception) -> Iterator[Any]:
    yield from errors
    while True:
        yield None


def asked(outcomes: Iterator[Any]) -> Any:
    def call() -> str:
        with client_errors("docs"):
            if (outcome := next(outcomes)) is not None:
                raise outcome
        return "done"

    return call


def test_retry_after_is_honoured_and_other_waits_grow(clock: Clock) -> None:
    slow = [answered(429, "slow", {"retry-after": str(wait)}) for wait in (2, 40)]
    away = [ResponseHandlingException(httpx.ConnectError("refused")) for _ in range(3)]
    assert call_with_retry(asked(failing(*slow, *away))) == "done"
    for slept, (least, most) in zip(
        clock.slept_s, [(2, 2.5), (40, 50), (0.25, 0.32), (0.5, 0.63), (1, 1.25)], strict=True
    ):
        assert least <= slept <= most


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(429, "slow", {"retry-after": "100"}), StoreBusyError),
        (answered(503, "away"), StoreUnavailableError),
    ],
    ids=["busy", "away"],
)
def test_patience_ends(clock: Clock, error: Exception, kind: type[LusiferError]) -> None:
    with pytest.raises(kind) as caught:
        call_with_retry(asked(failing(*[error] * 1000)), retry_for_s=300)
    assert caught.value.retryable
    assert 150 < clock.now_s <= 300
    assert len(clock.slept_s) < 40


def test_what_a_repetition_does_not_mend_is_raised_at_once(clock: Clock) -> None:
    with pytest.raises(CollectionMismatchError):
        call_with_retry(asked(failing(answered(400, "Vector dimension error"))))
    assert clock.slept_s == []


@pytest.mark.parametrize("url", ["localhost:6333", "", "ftp://host", "http://host:port"])
def test_an_address_that_can_not_be_used(url: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be used") as caught:
        connect(url)
    assert "http://HOST:6333" in caught.value.next_step


@pytest.mark.parametrize("over_grpc", [False, True])
def test_nobody_listens(over_grpc: bool) -> None:
    client = connect("http://127.0.0.1:9", grpc=over_grpc, timeout_s=5)
    # The gRPC port is a setting of its own; nothing listens on the usual one either, or it is no
    # Qdrant.
    client._client._grpc_port = 9
    try:
        with pytest.raises(StoreUnavailableError), client_errors("docs"):
            client.get_collection("docs")
    finally:
        client.close()


def test_without_the_client_the_command_to_install_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError) as caught:
        connect("http://localhost:6333")
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step
