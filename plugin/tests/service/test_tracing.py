from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.service.tracing import Tracer

if TYPE_CHECKING:
    import pytest

    from lusifer.bundle.format import Bundle


def test_nothing_is_made_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracer = Tracer.start(None, "1")
    with tracer.request("x", {}) as span:
        assert span is None
    tracer.close()


def test_a_request_is_a_span_at_the_collector_and_a_child_of_the_callers(
    bundle: Bundle, start_service: Any
) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    service = start_service(Vectorizer(bundle, FakeEngine(16)), otlp_endpoint=endpoint).ready()
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "traced-1"}
    assert (
        service.http.post("/vectors", json={"text": "secret"}, headers=headers).status_code == 200
    )
    service.stop()  # sends what is left
    server.shutdown()
    thread.join()
    server.server_close()
    sent = b"".join(received)
    for part in (
        bytes.fromhex(trace),
        b"weaviate POST /vectors",
        b"traced-1",
        b"http.response.status_code",
    ):
        assert part in sent, part
    assert b"secret" not in sent
