from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from lusifer.errors import (
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    StoreBusyError,
    StoreUnavailableError,
    UnauthorizedError,
)

pytest.importorskip("weaviate")
from lusifer.weaviate import rest as module
from lusifer.weaviate.rest import RestApi, rest_by_environment


def api(status: int = 200, content: str = "{}", seen: list[Any] | None = None) -> RestApi:
    def answer(request: Any) -> Any:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, text=content)

    return RestApi("http://w:8080/", {"X": "y"}, transport=httpx.MockTransport(answer))


def test_requests_are_json() -> None:
    seen: list[Any] = []
    rest = api(content='{"n": 9007199254740991}', seen=seen)
    assert rest.get("/objects", limit=3, after="") == {"n": 2**53 - 1}
    rest.send("POST", "/batch/objects", {"text": "ü"}, "A")
    first, second = seen
    assert str(first.url) == "http://w:8080/v1/objects?limit=3&after="
    assert first.headers["x"] == "y"
    assert json.loads(second.content) == {"text": "ü"}
    assert api(204, "").send("PUT", "/x", []) is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        rest.send("POST", "/x", [float("nan")])


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (401, '{"error": [{"message": "no key"}]}', UnauthorizedError, "no key"),
        (404, "", IndexNotFoundError, "no collection 'A'"),
        (422, '{"error": [{"message": "bad"}, {"message": "worse"}]}', InvalidInputError, "bad; worse"),
        (429, "slow", StoreBusyError, "slow"),
        (500, "<html>\n", StoreUnavailableError, "<html>"),
        (503, "", StoreUnavailableError, "status 503"),
        (422, '{"error": [{"message": "err:tenant not active: \'b\'"}]}', LusiferError, "The tenant b of"),
    ],
)  # fmt: skip
def test_failures_are_errors_of_ours(status: int, content: str, kind: Any, message: str) -> None:
    with pytest.raises(kind) as raised:
        api(status, content).get("/objects", "A")
    assert message in raised.value.message


def test_no_answer_is_a_server_that_is_away() -> None:
    def refuse(request: Any) -> Any:
        raise httpx.ConnectError("refused")

    rest = RestApi("http://w", transport=httpx.MockTransport(refuse))
    with pytest.raises(StoreUnavailableError):
        rest.get("/schema")
    rest.close()


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(module, "RestApi", lambda url, headers: made.append((url, headers)))
    monkeypatch.setenv("WEAVIATE_API_KEY", "a")
    monkeypatch.setenv("LUSIFER_API_KEY", "b")
    rest_by_environment("http://w")
    assert made == [("http://w", {"Authorization": "Bearer a", "X-Cohere-Api-Key": "b"})]
