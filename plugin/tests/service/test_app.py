"""Start, canary, stop and errors outside the protocols, over a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from plugin.tests.service.protocol_cases import DIMENSION, MODEL, PROTOCOLS, every_protocol

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.service.app import create_app
from lusifer.service.canary import canary_texts
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from plugin.tests.service.conftest import GatedEngine

    from lusifer.bundle.format import Bundle
    from lusifer.errors import LusiferError


class Translator(FakeEngine):
    """An engine that knows the topics of the canary's sentences, unless it is ``wrong``."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(DIMENSION)
        self.wrong = False
        self.gate = threading.Event()
        self.gate.set()
        rows = Vectorizer(bundle, FakeEngine(DIMENSION)).tokenize(canary_texts(), "document")
        self._topic = {row.windows[0].tobytes(): n % 4 for n, row in enumerate(rows)}

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        assert self.gate.wait(120)
        vectors = super().run(input_ids, attention_mask)
        for n, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            topic = self._topic.get(ids[mask == 1].astype(np.int32).tobytes())
            if topic is not None and not self.wrong:
                vectors[n] = np.eye(4, DIMENSION)[topic]
        return vectors


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lusifer.service.app._CANARY_RETRY_S", 0.05)


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


def test_it_is_alive_at_once_and_ready_after_warm_up_only(
    bundle: Bundle, gated_engine: GatedEngine, start_service: Any
) -> None:
    service = start_service(Vectorizer(bundle, gated_engine))
    http = service.http
    service.wait_until(lambda: _alive(http))
    assert gated_engine.entered.wait(120)
    assert http.get("/.well-known/ready").status_code == 503
    assert http.get("/meta").status_code == 200
    refused = http.post("/vectors", json={"text": "a"})
    assert (refused.status_code, "loaded" in refused.json()["error"]) == (503, True)
    gated_engine.gate.set()
    service.ready()
    ready = http.get("/.well-known/ready")
    assert (ready.status_code, ready.content) == (204, b"")
    assert http.post("/vectors", json={"text": "a"}).status_code == 200


def test_the_language_detector_is_loaded_before_the_first_request(
    bundle: Bundle, start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []

    def detect(text: str) -> str:
        seen.append((any(map(str.isalpha, text)), threading.get_ident()))
        return "en"

    monkeypatch.setattr("lusifer.service.app.detect_language", detect)
    service = start_service(Vectorizer(bundle, FakeEngine(DIMENSION))).ready()
    # A text without letters would not load the detector's model.
    ((has_letters, thread),) = seen
    assert has_letters
    # The server has one thread, which runs the event loop.
    assert thread not in {threading.get_ident(), service._thread.ident}


def _alive(http: httpx.Client) -> bool:
    try:
        return http.get("/.well-known/live").status_code == 204
    except httpx.TransportError:
        return False


@pytest.mark.usefixtures("soon")
def test_a_failed_canary_stops_the_service_until_it_passes_again(
    serve: Callable[..., Any], bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Translator(bundle)
    service = serve(engine, canary=True, canary_interval_s=0.05)
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
def test_the_canary_finds_an_engine_that_hangs(serve: Callable[..., Any], bundle: Bundle) -> None:
    engine = Translator(bundle)
    service = serve(engine, canary=True, canary_interval_s=0.05, deadline_s=2.0)
    engine.gate.clear()
    service.wait_until(lambda: "the engine hangs" in (service.service.not_ready_reason() or ""))
    engine.gate.set()
    service.ready()


@pytest.mark.usefixtures("soon")
def test_an_engine_that_completes_batches_is_busy_and_not_dead(
    serve: Callable[..., Any],
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = serve(Translator(bundle), canary=True, canary_interval_s=0.05, deadline_s=0.5)
    checking = threading.Event()

    async def wait_for_ever(_: Any) -> Any:
        checking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(service.service, "embed_canary", wait_for_ever)
    assert checking.wait(60)

    def embed_until_reported() -> bool:
        assert service.http.post("/vectors", json={"text": "a text"}).status_code == 200
        service.service.clear_cache()
        return "the engine is busy" in caplog.text

    service.wait_until(embed_until_reported)
    assert service.service.not_ready_reason() is None
    service.wait_until(lambda: "the engine hangs" in (service.service.not_ready_reason() or ""))


@pytest.mark.usefixtures("soon")
def test_the_checks_go_on_after_an_error_in_the_canary(
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


def test_an_error_while_the_model_is_loaded_reaches_on_failure(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: Settings) -> Vectorizer:
        raise ImportError("libsomething.so.1 is missing")

    monkeypatch.setattr("lusifer.service.app._load", broken)

    async def failure() -> LusiferError:
        reported: asyncio.Future[LusiferError] = asyncio.get_running_loop().create_future()
        app = create_app(Settings(bundle=bundle.path), on_failure=reported.set_result)
        async with app.router.lifespan_context(app), asyncio.timeout(60):
            return await reported

    assert "libsomething.so.1" in str(asyncio.run(failure()))


def test_stopping_finishes_what_is_in_flight(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(service.http.post, "/vectors", json={"text": "in flight"})
        assert gated_engine.entered.wait(120)
        stopping = pool.submit(service.stop)
        # The first thing a server that stops does is to take no more connections.
        service.wait_until(lambda: not _listens(service.port))
        gated_engine.gate.set()
        assert answer.result().status_code == 200
        stopping.result()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=120).close()
    except OSError:
        return False
    return True


def test_metrics_and_status_count_what_happened(http: httpx.Client) -> None:
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


def test_memory_of_large_requests_goes_back_to_the_system(
    serve: Callable[..., Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[int] = []
    monkeypatch.setattr("lusifer.service.app._MEMORY_INTERVAL_S", 0.01)
    monkeypatch.setattr("lusifer.service.app._FREED_BYTES", 2**20)
    monkeypatch.setattr("lusifer.service.app.return_free_memory", lambda: times.append(1))
    service = serve(Translator(bundle))
    service.http.post("/vectors", json={"text": "a text"}).raise_for_status()
    assert not times
    service.http.post("/vectors", json={"text": "word " * 200_000}).raise_for_status()
    service.wait_until(lambda: len(times) == 1)
