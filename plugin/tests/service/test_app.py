"""The service behind a real uvicorn: what every protocol has in common."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.service.app import create_app
from lusifer.service.auth import add_key
from lusifer.service.canary import canary_texts
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle
    from lusifer.errors import LusiferError

D = 16
MODEL = "lusifer-tiny-test"

# Protocol -> path, a body for one text, where the error's text is.
PROTOCOLS: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[[Any], str]]] = {
    "weaviate": ("/vectors", lambda text: {"text": text}, lambda body: body["error"]),
    "cohere": (
        "/v2/embed",
        lambda text: {"texts": [text], "model": MODEL, "input_type": "search_document"},
        lambda body: body["message"],
    ),
    "qdrant": (
        "/qdrant",
        lambda text: {
            "inputs": [{"data": text, "data_type": "text", "model": MODEL, "options": None}],
            "inference": "update",
            "token": None,
        },
        lambda body: body["error"],
    ),
    "openai": (
        "/v1/embeddings",
        lambda text: {"input": text, "model": MODEL},
        lambda body: body["error"]["message"],
    ),
    "tei": ("/embed", lambda text: {"inputs": text}, lambda body: body["error"]),
}
VECTOR_OF: dict[str, Callable[[Any], list[float]]] = {
    "weaviate": lambda body: body["vector"],
    "cohere": lambda body: body["embeddings"]["float"][0],
    "qdrant": lambda body: body["embeddings"][0],
    "openai": lambda body: body["data"][0]["embedding"],
    "tei": lambda body: body[0],
}
INPUT = {"data": "a", "data_type": "text", "model": MODEL}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def body_of(protocol: str, text: str) -> bytes:
    return json.dumps(PROTOCOLS[protocol][1](text)).encode()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(D)


@pytest.fixture
def service(bundle: Bundle, engine: FakeEngine, start_service: Any) -> Any:
    return start_service(Vectorizer(bundle, engine)).ready()


@pytest.fixture
def http(service: Any) -> httpx.Client:
    client: httpx.Client = service.http
    return client


class Translator(FakeEngine):
    """Knows what the sentences of the canary mean, for as long as it is not ``wrong``."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(D)
        self.wrong = False
        self.gate = threading.Event()
        self.gate.set()
        rows = Vectorizer(bundle, FakeEngine(D)).tokenize(canary_texts(), "document")
        self._topic = {row.windows[0].tobytes(): n % 4 for n, row in enumerate(rows)}

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        assert self.gate.wait(120)
        vectors = super().run(input_ids, attention_mask)
        for n, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            topic = self._topic.get(ids[mask == 1].astype(np.int32).tobytes())
            if topic is not None and not self.wrong:
                vectors[n] = np.eye(4, D)[topic]
        return vectors


class Gated(FakeEngine):
    """Waits in every call until the gate opens."""

    def __init__(self) -> None:
        super().__init__(D)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        self.sizes.append(len(input_ids))
        self.entered.set()
        assert self.gate.wait(120)
        return super().run(input_ids, attention_mask)


@every_protocol
def test_all_protocols_give_the_vector_that_the_library_gives(
    http: httpx.Client, bundle: Bundle, protocol: str
) -> None:
    answer = http.post(PROTOCOLS[protocol][0], content=body_of(protocol, "Die Katze sitzt"))
    assert answer.status_code == 200, answer.text
    expected = Vectorizer(bundle, FakeEngine(D)).embed_documents(["Die Katze sitzt"]).vectors[0]
    assert np.abs(np.float32(VECTOR_OF[protocol](answer.json())) - expected).max() < 1e-6
    assert answer.headers["x-request-id"]


BAD: dict[str, bytes | Callable[[str], bytes]] = {
    "nothing": b"",
    "broken JSON": b'{"text": "a',
    "not JSON": b"text=a",
    "a list": b"[1, 2]",
    "null": b"null",
    "an empty object": b"{}",
    "invalid UTF-8": b'{"text": "\xff\xfe"}',
    "deep nesting": b'{"text": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a huge number": b'{"text": 1e999999}',
    "NUL": lambda protocol: body_of(protocol, "a\x00b"),
    "empty text": lambda protocol: body_of(protocol, ""),
    "blank text": lambda protocol: body_of(protocol, " \n\t "),
    "a number for a text": lambda protocol: body_of(protocol, "TEXT").replace(b'"TEXT"', b"7"),
    "null for a text": lambda protocol: body_of(protocol, "TEXT").replace(b'"TEXT"', b"null"),
    "an object for a text": lambda protocol: body_of(protocol, "TEXT").replace(
        b'"TEXT"', b'{"a": 1}'
    ),
    "a lone surrogate": lambda protocol: body_of(protocol, "TEXT").replace(b"TEXT", rb"a\ud800b"),
}


@every_protocol
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_the_protocols_own_form(
    http: httpx.Client, protocol: str, case: str
) -> None:
    bad = BAD[case]
    path, _, message_of = PROTOCOLS[protocol]
    answer = http.post(path, content=bad(protocol) if callable(bad) else bad)
    assert answer.status_code == 400, answer.text
    assert len(message_of(answer.json())) > 20
    # And nothing else is disturbed.
    assert http.post(path, content=body_of(protocol, "fine")).status_code == 200


@pytest.mark.parametrize(
    ("protocol", "path", "body", "status"),
    [
        ("cohere", "/v2/embed", {"texts": [], "input_type": "search_query"}, 400),
        ("cohere", "/v2/embed", {"texts": ["a"] * 97, "input_type": "search_query"}, 413),
        ("cohere", "/v2/embed", {"texts": ["a"], "input_type": "image"}, 400),
        ("cohere", "/v2/embed", {"texts": ["a"]}, 400),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "truncate": "START"},
            400,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "embedding_types": ["int8"]},
            400,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "model": "gpt"},
            404,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "output_dimension": 5},
            400,
        ),
        ("openai", "/v1/embeddings", {"input": [], "model": MODEL}, 400),
        ("openai", "/v1/embeddings", {"input": [1, 2, 3], "model": MODEL}, 400),
        ("openai", "/v1/embeddings", {"input": ["a"] * 10_000, "model": MODEL}, 413),
        ("openai", "/v1/embeddings", {"input": "a", "model": "text-embedding-3-small"}, 404),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "dimensions": 5}, 400),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "dimensions": 10**30}, 400),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "encoding_format": "hex"}, 400),
        (
            "openai",
            "/v1/embeddings",
            {"input": "a", "model": MODEL + ":query", "input_type": "passage"},
            400,
        ),
        ("tei", "/embed", {"inputs": []}, 400),
        ("tei", "/embed", {"inputs": ["a"] * 10_000}, 413),
        ("tei", "/embed", {"inputs": "a", "normalize": False}, 400),
        ("tei", "/embed", {"inputs": "a", "truncate": True, "truncation_direction": "Left"}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"task_type": "clustering"}}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"dimensions": 5}}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"dimensions": -1}}, 400),
        ("qdrant", "/", {"inputs": [], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT] * 10_000, "inference": "update"}, 413),
        ("qdrant", "/", {"inputs": [{"data": "a", "model": "x"}], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT | {"data_type": "image"}], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT]}, 400),
        ("qdrant", "/", {"inputs": [INPUT], "inference": "x"}, 400),
        (
            "qdrant",
            "/",
            {"inputs": [INPUT | {"options": {"prompt": "x"}}], "inference": "search"},
            400,
        ),
    ],
)
def test_what_a_protocol_cannot_do_is_said_and_not_ignored(
    http: httpx.Client, protocol: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert len(PROTOCOLS[protocol][2](answer.json())) > 20


@every_protocol
def test_a_body_over_the_limit_is_refused_while_the_client_still_sends(
    bundle: Bundle, start_service: Any, protocol: str
) -> None:
    service = start_service(Vectorizer(bundle, FakeEngine(D)), maximum_body_bytes=2**20).ready()
    path, _, message_of = PROTOCOLS[protocol]
    for size in (2 * 2**20, 30 * 2**20):
        answer = service.http.post(path, content=body_of(protocol, "x" * size))
        assert answer.status_code == 413
        assert "1048576 bytes" in message_of(answer.json())


@every_protocol
def test_a_text_over_its_own_limit_and_a_list_over_its_own(
    bundle: Bundle, start_service: Any, protocol: str
) -> None:
    service = start_service(Vectorizer(bundle, FakeEngine(D)), maximum_text_bytes=1000).ready()
    answer = service.http.post(PROTOCOLS[protocol][0], content=body_of(protocol, "é" * 501))
    assert answer.status_code == 413
    assert "1002 bytes" in PROTOCOLS[protocol][2](answer.json())


@every_protocol
def test_unknown_paths_and_methods_answer_in_the_protocols_form(
    http: httpx.Client, protocol: str
) -> None:
    path, _, message_of = PROTOCOLS[protocol]
    answer = http.put(path)
    assert answer.status_code == 405
    assert "PUT" in message_of(answer.json())
    assert "POST" in answer.headers["allow"]
    missing = http.get("/nothing/here", headers={"x-request-id": "lost-1"})
    assert (missing.status_code, "error" in missing.json()) == (404, True)
    assert missing.headers["x-request-id"] == "lost-1"
    counted = http.get("/metrics").text
    assert (
        f'lusifer_request_duration_seconds_count{{protocol="{protocol}",status="405"}} 1.0'
        in counted
    )
    assert 'lusifer_request_duration_seconds_count{protocol="service",status="404"} 1.0' in counted


@every_protocol
def test_every_route_but_health_needs_a_key(
    bundle: Bundle, start_service: Any, tmp_path: Path, protocol: str
) -> None:
    key = add_key(tmp_path / "keys.toml", "indexer")
    service = start_service(
        Vectorizer(bundle, FakeEngine(D)), api_keys_file=tmp_path / "keys.toml"
    ).ready()
    path, _, message_of = PROTOCOLS[protocol]
    body = body_of(protocol, "a text")
    http = service.http
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"x-api-key": ""},
        {"api-key": key[:-1]},
    ):
        answer = http.post(path, content=body, headers=headers)
        assert answer.status_code == 401
        assert "key" in message_of(answer.json()).lower()
        assert key not in answer.text
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"x-api-key": key},
        {"lusifer-api-key": key},
    ):
        assert http.post(path, content=body, headers=headers).status_code == 200
    assert http.post(path, content=body, auth=("any", key)).status_code == 200
    if protocol == "qdrant":
        with_token = body.replace(b'"token": null', f'"token": "{key}"'.encode())
        assert http.post(path, content=with_token).status_code == 200
    public = {"/.well-known/live", "/.well-known/ready", "/status", "/"}
    for route in service.app.routes:
        if "GET" in route.methods and not route.path.startswith("/page"):
            expected = {200, 204} if route.path in public else {401}
            assert http.get(route.path).status_code in expected, route.path


def test_a_keys_own_limits(bundle: Bundle, start_service: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    few = add_key(path, "few", maximum_texts=2)
    slow = add_key(path, "slow", tokens_per_minute=20)
    service = start_service(Vectorizer(bundle, FakeEngine(D)), api_keys_file=path).ready()

    def post(key: str, texts: list[str]) -> httpx.Response:
        return service.http.post("/embed", json={"inputs": texts}, headers={"x-api-key": key})

    assert post(few, ["a", "b"]).status_code == 200
    assert post(few, ["a", "b", "c"]).status_code == 413
    assert post(slow, ["a", "b"]).status_code == 200  # what is cached costs nothing
    assert post(slow, ["c", "d"]).status_code == 200
    answer = post(slow, ["e", "f"])
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    metrics = service.http.get("/metrics", headers={"x-api-key": few}).text
    assert 'lusifer_rejected_requests_total{reason="key_limit"} 1.0' in metrics
    assert 'lusifer_rejected_requests_total{reason="queue_full"} 0.0' in metrics


def test_a_refused_or_cached_request_costs_a_key_nothing(
    bundle: Bundle, start_service: Any, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", "indexer", tokens_per_minute=60)
    engine = Gated()
    engine.gate.set()
    service = start_service(
        Vectorizer(bundle, engine),
        api_keys_file=tmp_path / "keys.toml",
        queue_tokens=50,
        batch_tokens=50,
    ).ready()
    engine.gate.clear()
    engine.entered.clear()

    def post(text: str) -> int:
        answer = service.http.post(
            "/embed", json={"inputs": text, "truncate": True}, headers={"x-api-key": key}
        )
        return int(answer.status_code)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, "a" * 40)
        assert engine.entered.wait(120)
        # 18 tokens by its bytes, and its share of the queue is 25: three of them would use up the
        # minute.
        assert [post("b" * 40) for _ in range(4)] == [429] * 4
        engine.gate.set()
        assert first.result() == 200
    assert [post("a" * 40) for _ in range(6)] == [200] * 6


def test_a_key_gets_its_share_of_the_queue_and_leaves_the_rest_to_others(
    bundle: Bundle, start_service: Any, tmp_path: Path
) -> None:
    keys = [add_key(tmp_path / "keys.toml", name) for name in ("greedy", "modest")]
    engine = Gated()
    engine.gate.set()
    service = start_service(
        Vectorizer(bundle, engine),
        api_keys_file=tmp_path / "keys.toml",
        queue_tokens=40,
        batch_tokens=20,
        key_share=0.5,
    ).ready()
    engine.gate.clear()
    engine.entered.clear()

    def post(key: str, text: str) -> httpx.Response:
        return service.http.post("/vectors", json={"text": text * 20}, headers={"x-api-key": key})

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, keys[0], "a")
        assert engine.entered.wait(120)
        refused = post(keys[0], "b")
        other = pool.submit(post, keys[1], "c")
        service.wait_until(lambda: service.service.in_flight_requests == 2)
        engine.gate.set()
        assert (first.result().status_code, other.result().status_code) == (200, 200)
    assert (refused.status_code, "'greedy'" in refused.json()["error"]) == (503, True)


@every_protocol
def test_a_full_queue_says_when_to_come_back(
    bundle: Bundle, start_service: Any, protocol: str
) -> None:
    engine = Gated()
    engine.gate.set()
    service = start_service(Vectorizer(bundle, engine), queue_tokens=20, batch_tokens=20).ready()
    engine.gate.clear()
    engine.entered.clear()
    path, _, message_of = PROTOCOLS[protocol]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.http.post, path, content=body_of(protocol, "a" * 20))
        assert engine.entered.wait(120)
        answer = service.http.post(path, content=body_of(protocol, "b" * 20))
        engine.gate.set()
        assert first.result().status_code == 200
    assert answer.status_code == (503 if protocol in {"weaviate", "cohere"} else 429)
    assert int(answer.headers["retry-after"]) >= 1
    assert "queue" in message_of(answer.json())
    if protocol in {"weaviate", "cohere"}:
        # Weaviate's Python client sends an object again if its error has this phrase; Weaviate
        # itself puts it before Cohere's message, and not before the transformers module's.
        told = message_of(answer.json())
        assert ("failed with status: 503 error" in told) == (protocol == "weaviate")
    assert service.http.post(path, content=body_of(protocol, "b" * 20)).status_code == 200


def test_a_request_that_can_never_fit_is_told_so(bundle: Bundle, start_service: Any) -> None:
    service = start_service(
        Vectorizer(bundle, FakeEngine(D)), queue_tokens=1024, batch_tokens=64
    ).ready()
    answer = service.http.post("/embed", json={"inputs": ["a text"] * 500})
    assert answer.status_code == 413
    assert "1024" in answer.json()["error"]


def test_a_deadline_ends_a_request_and_frees_its_place(bundle: Bundle, start_service: Any) -> None:
    engine = Gated()
    engine.gate.set()
    service = start_service(Vectorizer(bundle, engine), deadline_s=0.2).ready()
    engine.gate.clear()
    answer = service.http.post("/embed", json={"inputs": "a text"})
    assert answer.status_code == 504
    assert "0.2 s" in answer.json()["error"]
    engine.gate.set()
    service.wait_until(lambda: service.service.status().queued_tokens == 0)
    assert service.http.post("/embed", json={"inputs": "a text"}).status_code == 200


def test_a_client_that_leaves_takes_its_texts_out_of_the_queue(
    bundle: Bundle, start_service: Any
) -> None:
    engine = Gated()
    engine.gate.set()
    service = start_service(Vectorizer(bundle, engine), batch_tokens=64).ready()
    engine.gate.clear()
    engine.entered.clear()
    before = len(engine.sizes)
    body = json.dumps(
        {"inputs": [f"text {n} " + "x" * 40 for n in range(50)], "truncate": True}
    ).encode()
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(
            b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert engine.entered.wait(120)
    service.wait_until(lambda: service.service.in_flight_requests == 0)
    assert service.service.status().queued_tokens == 0
    engine.gate.set()
    assert service.http.post("/embed", json={"inputs": "short"}).status_code == 200
    # One batch had begun; the other forty-odd texts were never computed.
    assert len(engine.sizes) - before == 2
    assert b'reason="disconnected"} 1.0' in service.http.get("/metrics").content


@every_protocol
@pytest.mark.parametrize("how", ["silent", "drop by drop"])
def test_a_client_that_does_not_finish_its_body_is_told_so(
    bundle: Bundle, start_service: Any, monkeypatch: pytest.MonkeyPatch, protocol: str, how: str
) -> None:
    silent = how == "silent"
    monkeypatch.setattr("lusifer.service.routing._BODY_TIMEOUT_S", 0.3 if silent else 30)
    service = start_service(
        Vectorizer(bundle, FakeEngine(D)), deadline_s=30 if silent else 0.3
    ).ready()
    path, _, message_of = PROTOCOLS[protocol]
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{{"
    status, _, body = service.exchange(head.encode(), drops=0 if silent else 20)
    assert status == 400
    assert "The body stopped after" in message_of(json.loads(body))


def test_a_client_that_stops_in_its_body_disturbs_nobody(http: httpx.Client, service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as hanging:
        hanging.sendall(b"POST /vectors HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        for n in range(5):
            assert http.post("/vectors", json={"text": f"text {n}"}).status_code == 200
    service.wait_until(lambda: service.service.in_flight_requests == 0)


def test_equal_texts_are_computed_once_and_cached(http: httpx.Client, engine: FakeEngine) -> None:
    before = engine.rows
    first = http.post("/embed", json={"inputs": ["same", "same", "other"]}).json()
    assert engine.rows - before == 2
    second = http.post("/v1/embeddings", json={"input": ["other", "same"], "model": MODEL}).json()
    assert engine.rows - before == 2
    assert [item["embedding"] for item in second["data"]] == [first[2], first[0]]
    # The role is part of what is cached.
    http.post("/v1/embeddings", json={"input": "same", "model": f"{MODEL}:query"})
    assert engine.rows - before == 3


def test_a_failed_text_fails_its_own_request_only(bundle: Bundle, start_service: Any) -> None:
    class Poisoned(FakeEngine):
        def run(
            self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            vectors = super().run(input_ids, attention_mask)
            vectors[attention_mask.sum(axis=1) == poisoned_length] = np.nan
            return vectors

    vectorizer = Vectorizer(bundle, Poisoned(D))
    poisoned_length = vectorizer.tokenize(["poison" * 3], "document")[0].tokens
    service = start_service(vectorizer).ready()
    texts = [f"{n}" for n in range(20)] + ["poison" * 3]
    with ThreadPoolExecutor(21) as pool:
        answers = list(
            pool.map(lambda text: service.http.post("/vectors", json={"text": text}), texts)
        )
    assert [answer.status_code for answer in answers] == [200] * 20 + [500]
    assert "NaN" in answers[-1].json()["error"]


def test_the_same_text_gives_exactly_the_same_floats_under_load(
    http: httpx.Client, service: Any
) -> None:
    expected = http.post("/vectors", json={"text": "the same text"}).json()["vector"]

    def ask(_: int) -> bool:
        client = service.http
        return all(
            client.post("/vectors", json={"text": "the same text"}).json()["vector"] == expected
            for _ in range(20)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_it_is_alive_at_once_and_ready_after_warm_up_only(
    bundle: Bundle, start_service: Any
) -> None:
    engine = Gated()
    service = start_service(Vectorizer(bundle, engine))
    http = service.http
    service.wait_until(lambda: _alive(http))
    assert engine.entered.wait(120)
    assert http.get("/.well-known/ready").status_code == 503
    assert http.get("/meta").status_code == 200
    refused = http.post("/vectors", json={"text": "a"})
    assert (refused.status_code, "loaded" in refused.json()["error"]) == (503, True)
    engine.gate.set()
    service.ready()
    ready = http.get("/.well-known/ready")
    assert (ready.status_code, ready.content) == (204, b"")
    assert http.post("/vectors", json={"text": "a"}).status_code == 200


def _alive(http: httpx.Client) -> bool:
    try:
        return http.get("/.well-known/live").status_code == 204
    except httpx.TransportError:
        return False


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lusifer.service.app._CANARY_RETRY_S", 0.05)


@pytest.mark.usefixtures("soon")
def test_a_canary_that_fails_while_it_serves_stops_it_until_it_sings_again(
    bundle: Bundle, start_service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Translator(bundle)
    service = start_service(Vectorizer(bundle, engine), canary=True, canary_interval_s=0.05).ready()
    http = service.http
    right = http.post("/vectors", json={"text": "a text"}).json()["vector"]
    assert service.service.cache_bytes() > 0
    engine.wrong = True
    service.wait_until(lambda: service.service.not_ready_reason())
    assert "nearer to a wrong translation" in service.service.not_ready_reason()
    # What was computed since the last good look may be wrong as well.
    service.wait_until(lambda: service.service.cache_bytes() == 0)
    refused = http.post("/vectors", json={"text": "a text"})
    assert (refused.status_code, "canary" in refused.json()["error"]) == (503, True)
    assert http.get("/.well-known/ready").status_code == 503
    assert http.get("/.well-known/live").status_code == 204
    assert "nearer to a wrong translation" in caplog.text
    engine.wrong = False
    service.ready()
    assert http.get("/.well-known/ready").status_code == 204
    assert http.post("/vectors", json={"text": "a text"}).json()["vector"] == right


@pytest.mark.usefixtures("soon")
def test_an_engine_that_hangs_is_noticed_by_the_canary(bundle: Bundle, start_service: Any) -> None:
    engine = Translator(bundle)
    service = start_service(
        Vectorizer(bundle, engine), canary=True, canary_interval_s=0.05, deadline_s=2.0
    ).ready()
    engine.gate.clear()
    service.wait_until(lambda: "the engine hangs" in (service.service.not_ready_reason() or ""))
    engine.gate.set()
    service.ready()


@pytest.mark.usefixtures("soon")
def test_the_watch_outlives_a_canary_that_breaks(
    bundle: Bundle, start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start_service(
        Vectorizer(bundle, Translator(bundle)), canary=True, canary_interval_s=0.05
    )
    service.ready()
    with monkeypatch.context() as broken:
        broken.setattr("lusifer.service.canary.judge", lambda _: 1 / 0)
        service.wait_until(
            lambda: "ZeroDivisionError" in (service.service.not_ready_reason() or "")
        )
    service.ready()


def test_a_model_that_breaks_while_it_is_loaded_is_told_and_ends_the_process(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: Settings) -> Vectorizer:
        raise ImportError("libsomething.so.1 is missing")

    monkeypatch.setattr("lusifer.service.app._load", broken)

    async def failure() -> LusiferError:
        told: asyncio.Future[LusiferError] = asyncio.get_running_loop().create_future()
        app = create_app(Settings(bundle=bundle.path), on_failure=told.set_result)
        async with app.router.lifespan_context(app), asyncio.timeout(60):
            return await told

    assert "libsomething.so.1" in str(asyncio.run(failure()))


def test_stopping_finishes_what_is_in_flight(bundle: Bundle, start_service: Any) -> None:
    engine = Gated()
    engine.gate.set()
    service = start_service(Vectorizer(bundle, engine)).ready()
    engine.gate.clear()
    engine.entered.clear()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(service.http.post, "/vectors", json={"text": "in flight"})
        assert engine.entered.wait(120)
        stopping = pool.submit(service.stop)
        # The first thing a server that stops does is to take no more connections.
        service.wait_until(lambda: not _listens(service.port))
        engine.gate.set()
        assert answer.result().status_code == 200
        stopping.result()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=120).close()
    except OSError:
        return False
    return True


def test_faults_of_the_engine_never_reach_an_answer(bundle: Bundle, start_service: Any) -> None:
    faults = Faults(
        nan_on={3, 9},
        short_answer_on={5},
        wrong_dimension_on={7, 8},
        not_unit_on={11},
        out_of_memory_on={13},
    )
    service = start_service(Vectorizer(bundle, FakeEngine(D, faults=faults)), cache="off").ready()
    expected = Vectorizer(bundle, FakeEngine(D))
    right = 0
    for n in range(30):
        texts = [f"text {n}", f"another {n}"]
        answer = service.http.post("/embed", json={"inputs": texts})
        if answer.status_code == 200:
            vectors = np.float32(answer.json())
            assert np.abs(vectors - expected.embed_documents(texts).vectors).max() < 1e-6
            right += 1
        else:
            assert answer.status_code in {500, 503}
    # Most faults pass when the text is tried again alone; only a fault upon a fault is told.
    assert right >= 27


def test_metrics_and_status_tell_what_happened(http: httpx.Client) -> None:
    http.post(
        "/embed", json={"inputs": ["Die Katze sitzt auf der Matte", "x" * 200], "truncate": True}
    )
    http.post("/embed", json={"inputs": ""})
    metrics = http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for line in (
        'lusifer_texts_total{protocol="tei",role="document"} 2.0',
        'lusifer_truncated_texts_total{protocol="tei"} 1.0',
        'lusifer_texts_by_language_total{language="de"} 1.0',
        'lusifer_rejected_requests_total{reason="invalid"} 1.0',
        'lusifer_cache_lookups_total{result="miss"} 2.0',
        "lusifer_ready 1.0",
    ):
        assert line in metrics.text, line
    status = http.get("/status").json()
    assert status["model"]["name"] == MODEL
    assert status["load"]["in_flight_requests"] == 0
