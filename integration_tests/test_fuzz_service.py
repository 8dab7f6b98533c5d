"""Random headers, bodies and texts on every route: no error of the service, no hang, short errors."""

from __future__ import annotations

import copy
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import strategies as st
from integration_tests.attacks import make_bundle

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("onnx")
pytestmark = pytest.mark.fuzz

MODEL = "lusifer-attacked"
TEXT = "The train to the airport leaves every twenty minutes."
BODIES: dict[str, Any] = {
    "/vectors": {
        "text": TEXT,
        "dims": 0,
        "vector": [],
        "error": "",
        "config": {"task_type": "query", "dimensions": None, "pooling_strategy": "masked_mean"},
    },
    "/v2/embed": {
        "texts": [TEXT, "b"],
        "model": MODEL,
        "input_type": "search_query",
        "embedding_types": ["float", "base64"],
        "truncate": "END",
        "output_dimension": 384,
    },
    "/qdrant": {
        "inputs": [
            {"data": TEXT, "data_type": "text", "model": MODEL, "options": {"dimensions": 384}},
            {"data": "b", "data_type": "text", "model": MODEL, "options": None},
        ],
        "inference": "search",
        "token": None,
    },
    "/v1/embeddings": {
        "input": [TEXT, "b"],
        "model": f"{MODEL}:query",
        "encoding_format": "base64",
        "dimensions": 384,
        "input_type": "query",
    },
    "/embed": {
        "inputs": [TEXT, "b"],
        "normalize": True,
        "truncate": True,
        "truncation_direction": "Right",
        "prompt_name": "query",
        "dimensions": 384,
    },
}
PATHS = st.sampled_from([*BODIES, "/", "/vectors/", "//v2/embed", "/a/b/v2/embed"])
EVERYWHERE = st.sampled_from(
    [*BODIES, "/", "/meta", "/info", "/v1/models", "/status", "/metrics", "/page/page.js", "/none"]
)

any_text = st.text(st.characters(), max_size=40)  # with NUL and lone surrogates
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | any_text
    | st.sampled_from([2**63, -1, 10**400, 384, "query", MODEL, TEXT])
)
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
)


@st.composite
def changed_bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a path, and its body with a few values replaced, removed, added or repeated."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body = copy.deepcopy(BODIES[path])
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "remove", "add", "repeat"])):
                case "replace":
                    place[key] = draw(any_json)
                case "remove":
                    del place[key]
                case "add" if isinstance(place, dict):
                    place[draw(any_text)] = draw(any_json)
                case "repeat" if isinstance(place, list):
                    place *= draw(st.integers(2, 3000))
            break
    raw = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(raw)))
        raw = raw[:cut] + draw(st.binary(max_size=9)) + raw[cut + draw(st.integers(0, 9)) :]
    return path, raw


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("fuzz") / "model")


@pytest.fixture
def service(bundle: Path, start_service: Any, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Serve; afterwards nothing may be logged as an error, nothing held, and texts be served."""
    running = start_service(Vectorizer.load(bundle)).ready()
    running.http.timeout = 20
    yield running
    assert running.http.post("/vectors", json={"text": TEXT}).status_code == 200
    running.wait_until(lambda: running.service.bytes_in_flight.held_bytes == 0)
    assert running.service.status().queued_tokens == 0
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


def check_answer(status: int, content: bytes) -> None:
    assert status in {200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503}, content[
        :500
    ]
    if status >= 400:
        assert len(content) < 4000


def test_bodies(service: Any, fuzz: Callable[..., None]) -> None:
    def check(request: tuple[str, bytes]) -> None:
        path, raw = request
        answer = service.http.post(path, content=raw)
        check_answer(answer.status_code, answer.content)
        answer.json()

    fuzz(changed_bodies() | st.tuples(PATHS, st.binary(max_size=200)), check)


def test_headers(service: Any, fuzz: Callable[..., None]) -> None:
    names = st.sampled_from(
        [
            *("authorization", "x-api-key", "host", "origin", "content-type", "content-length"),
            *("transfer-encoding", "connection", "expect", "upgrade", "traceparent", "accept"),
            *("x-request-id", "cookie", "sec-fetch-site", "x-forwarded-for", "te", "range"),
        ]
    )
    # No end of line: it would begin another request, whose answers the test would have to match.
    values = st.binary(max_size=40) | st.sampled_from(
        [b"chunked", b"0", b"-1", b"99999999999999999999", b"100-continue", b"websocket", b"close"]
    )

    methods = ["GET", "POST", "PUT", "OPTIONS", "HEAD", "CONNECT", "PRI", "\x80"]
    requests = st.tuples(
        st.sampled_from(methods),
        EVERYWHERE.map(str.encode) | st.binary(min_size=1, max_size=30),
        st.lists(st.tuples(names, values), max_size=6),
        st.booleans(),
    )

    def check(request: tuple[str, bytes, list[tuple[str, bytes]], bool]) -> None:
        method, path, headers, host = request
        lines = [method.encode("latin-1") + b" " + path.translate(None, b"\r\n \t") + b" HTTP/1.1"]
        lines += [b"host: localhost"] if host else []
        lines += [name.encode() + b": " + value.translate(None, b"\r\n") for name, value in headers]
        status = exchange(service, b"\r\n".join(lines) + b"\r\n\r\n")
        # Nothing came where the connection was closed, or where more of the request is awaited.
        if status is not None:
            check_answer(status, b"")

    fuzz(requests, check)


def exchange(service: Any, request: bytes) -> int | None:
    """Return the status of the answer, None if none comes before our end of the connection closes."""
    import socket

    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            head = b""
            while b"\r\n" not in head and (part := connection.recv(4096)):
                head += part
        except (ConnectionResetError, BrokenPipeError):
            return None
    status = head.split(b" ", 2)[1:2]
    return int(status[0]) if status and status[0] != b"100" else None


def test_texts(service: Any, bundle: Path, fuzz: Callable[..., None]) -> None:
    parts = st.text(st.characters(), max_size=30) | st.tuples(
        st.text(st.characters(), min_size=1, max_size=2), st.integers(1, 3000)
    ).map(lambda part: part[0] * part[1])

    with Vectorizer.load(bundle) as library:

        def check(texts: list[str]) -> None:
            try:
                expected = library.embed_documents(texts).vectors
            except LusiferError as error:
                expected = None
                assert error.status == 400
            raw = json.dumps({"inputs": texts, "truncate": True}).encode()
            answer = service.http.post("/embed", content=raw)
            check_answer(answer.status_code, answer.content)
            assert (answer.status_code == 200) == (expected is not None), answer.text[:300]
            if expected is not None:
                assert np.abs(np.float32(answer.json()) - expected).max() < 1e-4

        fuzz(st.lists(st.lists(parts, max_size=4).map("".join), min_size=1, max_size=4), check)
