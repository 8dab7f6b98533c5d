"""The client of the service against answers that are written here."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from lusifer.common import retry
from lusifer.embedding.base import Embedder
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.errors import (
    EngineOutputError,
    EngineUnavailableError,
    FingerprintMismatchError,
    InvalidDimensionError,
    InvalidInputError,
    InvalidTextError,
    LusiferError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
)
from lusifer.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable

META: dict[str, Any] = {
    "name": "lusifer",
    "model": "tiny",
    "fingerprint": "sha256:1",
    "dimension": 2,
    "dimensions": [2, 1],
    "role_prompts": {"query": "q: ", "document": "d: "},
}
UNIT = [0.6, 0.8]


def packed(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()


def answer_for(texts: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "data": [{"embedding": packed(UNIT), "truncated": text == "cut"} for text in texts],
        "usage": {"total_tokens": 7},
        "system_fingerprint": "sha256:1",
        **changes,
    }


class Service:
    """Answers with the responses of :attr:`planned` first, then as a service does."""

    def __init__(self) -> None:
        self.planned: list[httpx.Response | Exception] = []
        self.meta = META
        self.answer: Callable[[list[str]], Any] = answer_for
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.planned:
            planned = self.planned.pop(0)
            if isinstance(planned, Exception):
                raise planned
            return planned
        if request.url.path == "/meta":
            return httpx.Response(200, json=self.meta)
        return httpx.Response(200, json=self.answer(json.loads(request.content)["input"]))

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(each.content) for each in self.requests if each.method == "POST"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    client = httpx.Client
    transport = httpx.MockTransport(made)
    monkeypatch.setattr(httpx, "Client", lambda **options: client(transport=transport, **options))
    return made


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    monkeypatch.setattr(retry.random, "uniform", lambda least, most: least)
    return slept


@pytest.fixture
def remote(service: Service) -> RemoteVectorizer:
    return RemoteVectorizer("http://service:8000/", api_key="k")


def test_it_has_what_the_service_says_of_its_model(
    service: Service, remote: RemoteVectorizer
) -> None:
    assert isinstance(remote, Embedder)
    assert (remote.model_name, remote.fingerprint, remote.dimension) == ("tiny", "sha256:1", 2)
    assert remote.role_prompts == {"query": "q: ", "document": "d: "}
    (request,) = service.requests
    assert (request.method, str(request.url)) == ("GET", "http://service:8000/meta")
    assert request.headers["Authorization"] == "Bearer k"


def test_the_request_and_what_its_answer_becomes(
    service: Service, remote: RemoteVectorizer
) -> None:
    embeddings = remote.embed_documents(["a", "cut", "b"])
    assert service.bodies() == [
        {
            "input": ["a", "cut", "b"],
            "model": "tiny",
            "encoding_format": "base64",
            "input_type": "document",
        }
    ]
    assert embeddings.vectors == pytest.approx(np.array([UNIT] * 3))
    # 7 tokens of three texts: the first one carries the remainder.
    assert embeddings.tokens == (3, 2, 2)
    assert embeddings.truncated == (False, True, False)


def test_another_dimension_is_asked_for(service: Service, remote: RemoteVectorizer) -> None:
    remote.use_dimension(1)
    service.answer = lambda texts: answer_for(texts, data=[{"embedding": packed([1.0])}])
    assert remote.embed_query("a").vector.tolist() == [1.0]
    assert service.bodies()[0]["dimensions"] == 1
    with pytest.raises(InvalidDimensionError, match="Dimension 3") as caught:
        remote.use_dimension(3)
    assert caught.value.next_step == "Use one of 2, 1."


def test_requests_hold_64_texts_and_a_mebibyte(service: Service, remote: RemoteVectorizer) -> None:
    assert len(remote.embed_documents(["a"] * 130)) == 130
    assert [len(body["input"]) for body in service.bodies()] == [64, 64, 2]
    service.requests.clear()
    # Two bytes a letter: three of these are more than 1,048,576 bytes.
    remote.embed_documents(["é" * 200_000] * 3)
    assert [len(body["input"]) for body in service.bodies()] == [2, 1]
    service.requests.clear()
    assert remote.embed_documents([]).vectors.shape == (0, 2)
    assert service.requests == []


def test_a_stream_keeps_the_order_and_the_errors(
    service: Service, remote: RemoteVectorizer
) -> None:
    items = list(remote.stream(["a", "", "b", "c"], "query", window=3))
    assert [type(item) for item in items] == [Embedding, InvalidTextError, Embedding, Embedding]
    assert [body["input"] for body in service.bodies()] == [["a", "b"], ["c"]]


def test_a_text_that_the_service_refuses_does_not_lose_the_others(
    service: Service, remote: RemoteVectorizer
) -> None:
    too_long = httpx.Response(400, json={"error": {"message": "Text 1: too long."}})
    good = httpx.Response(200, json=answer_for(["a"]))
    service.planned = [too_long, good, too_long]
    items = list(remote.stream(["a", "long"], "query"))
    assert [type(item) for item in items] == [Embedding, InvalidInputError]
    assert str(items[1]) == "The service refused the request (400): Text 1: too long. Fix the text."


@pytest.mark.parametrize(
    ("response", "pause_s"),
    [
        (httpx.Response(429, headers={"Retry-After": "7"}), 7.0),
        (httpx.Response(503), 1.0),
        (httpx.Response(502), 0.5),
        (httpx.Response(504), 0.5),
        (httpx.ConnectError("refused"), 0.5),
    ],
)
def test_what_passes_is_retried_after_a_pause(
    service: Service,
    remote: RemoteVectorizer,
    slept_s: list[float],
    response: httpx.Response | Exception,
    pause_s: float,
) -> None:
    service.planned = [response]
    assert remote.embed_query("a").tokens == 7
    assert slept_s == [pause_s]


def test_pauses_double_until_the_attempts_are_used_up(
    service: Service, remote: RemoteVectorizer, slept_s: list[float]
) -> None:
    service.planned = [httpx.ConnectError("refused")] * 8
    with pytest.raises(EngineUnavailableError) as caught:
        remote.embed_query("a")
    assert caught.value.message == "The service at http://service:8000 can't be reached: refused."
    assert slept_s == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert len(service.bodies()) == 8


def test_an_address_that_never_answered_is_given_up_soon(
    service: Service, slept_s: list[float]
) -> None:
    service.planned = [httpx.ConnectError("refused")] * 8
    with pytest.raises(EngineUnavailableError, match="can't be reached: refused"):
        RemoteVectorizer("http://service:8000")
    assert slept_s == [0.5, 1.0]
    # A service that says it is busy is there.
    service.planned = [httpx.Response(503)] * 4
    RemoteVectorizer("http://service:8000").close()
    assert len(slept_s) == 6


@pytest.mark.parametrize(
    ("response", "kind", "message"),
    [
        (
            httpx.Response(429, json={"error": "full"}),
            OverloadedError,
            "The service at http://service:8000 is busy (429): full",
        ),
        (
            httpx.Response(401, json={"error": {"message": "no key"}}),
            UnauthorizedError,
            "The service at http://service:8000 refuses the key: no key",
        ),
        (
            httpx.Response(413, text="<html>large</html>"),
            InvalidInputError,
            "The service refused the request (413): <html>large</html>",
        ),
        (
            httpx.Response(500, json={"detail": "?"}),
            ServiceError,
            'The service at http://service:8000 answered 500: {"detail":"?"}',
        ),
        (
            httpx.Response(404),
            ServiceError,
            "The service at http://service:8000 answered 404: no message",
        ),
    ],
)
def test_failures(
    service: Service, response: httpx.Response, kind: type[LusiferError], message: str
) -> None:
    remote = RemoteVectorizer("http://service:8000", attempts=1)
    service.planned = [response]
    with pytest.raises(kind) as caught:
        remote.embed_query("a")
    assert type(caught.value) is kind
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"data": []}, "lacks 'usage'"),
        (answer_for([]), "has 0 vectors for 1 texts"),
        (answer_for(["a", "b"]), "has 2 vectors for 1 texts"),
        (answer_for([], data=[{"embedding": packed([1.0])}]), "has vectors of 1 numbers, not 2"),
        (
            answer_for([], data=[{"embedding": packed([3.0, 4.0])}]),
            "has a norm 4 away from 1, at most 0.001 is allowed",
        ),
    ],
)
def test_answers_that_are_refused(
    service: Service, remote: RemoteVectorizer, answer: Any, fault: str
) -> None:
    service.answer = lambda texts: answer
    with pytest.raises(EngineOutputError) as caught:
        remote.embed_query("a")
    assert caught.value.message == f"The service's answer {fault}."


def test_an_answer_that_is_no_json(service: Service, remote: RemoteVectorizer) -> None:
    service.planned = [httpx.Response(200, text="<html>")]
    with pytest.raises(EngineOutputError, match="is not JSON"):
        remote.embed_query("a")


def test_another_model_meanwhile(service: Service, remote: RemoteVectorizer) -> None:
    service.answer = lambda texts: answer_for(texts, system_fingerprint="sha256:2")
    with pytest.raises(FingerprintMismatchError, match="sha256:2, not sha256:1"):
        remote.embed_query("a")


def test_services_that_are_not_ready_or_something_else(service: Service) -> None:
    service.meta = {"name": "lusifer", "status": "starting"}
    with pytest.raises(EngineUnavailableError, match="still loading"):
        RemoteVectorizer("http://service:8000")
    service.meta = {"name": "other"}
    with pytest.raises(ServiceError, match="no LUSIFER service"):
        RemoteVectorizer("http://service:8000")
    with pytest.raises(InvalidInputError, match="can't be used"):
        RemoteVectorizer("http://service:port")
