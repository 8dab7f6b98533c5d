"""Slow, greedy and strange clients on one connection, over a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plugin.tests.service.conftest import GatedEngine

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"
BODY = b'{"inputs": ["one text", "another text"]}'
PING = b"GET /.well-known/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes = BODY, *, extra: bytes = b"", path: bytes = b"/embed") -> bytes:
    """Return a request with a body of known length."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + extra + length + b"\r\n" + body


def chunked(body: bytes = BODY, *, extra: bytes = b"", size: int = 7) -> bytes:
    """Return a request whose body comes in chunks."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\n" + extra
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Connection:
    """A connection that sends bytes as they are, and reads one answer at a time."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connected
        self._reader = connected.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send all of it, or what a server that closes lets through."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Read one answer: its status and body."""
        status = int(self._reader.readline().split()[1])
        headers = http.client.parse_headers(self._reader)
        return status, self._reader.read(int(headers.get("content-length", 0)))

    def rest(self) -> bytes:
        """Read until the server closes."""
        with contextlib.suppress(ConnectionResetError):
            return self._reader.read()
        return b""

    def close(self) -> None:
        """Close both."""
        self._reader.close()
        self.socket.close()


@contextlib.contextmanager
def connected(service: Any, *, receives: int | None = None) -> Iterator[Connection]:
    """Open a connection, with a buffer of so many bytes to receive into."""
    made = socket.socket()
    if receives is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    made.connect(("127.0.0.1", service.port))
    with contextlib.closing(Connection(made)) as connection:
        yield connection


@pytest.mark.parametrize(
    ("name", "request_bytes", "word"),
    [
        ("a long URL", b"GET /" + b"a" * 2_000_000, "head"),
        ("a growing value", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2_000_000, "head"),
        ("headers without end", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300_000, "head"),
        ("empty lines", b"\r\n" * 100_000, "head"),
        (
            "many headers",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
            "128 header fields",
        ),
        (
            "a trailer without end",
            chunked().removesuffix(b"\r\n") + b"X: " + b"a" * 2_000_000,
            "head",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_a_head_over_the_limit_is_431(
    service: Any, name: str, request_bytes: bytes, word: str
) -> None:
    with connected(service) as connection:
        connection.send(request_bytes)
        status, body = connection.answer()
        assert (status, word in json.loads(body)["error"]) == (431, True), name
        assert connection.rest() == b""
    assert b'reason="connection"} 1.0' in service.http.get("/metrics").content


def test_a_head_under_the_limit_is_served(service: Any) -> None:
    with connected(service) as connection:
        connection.send(post(extra=b"X-Long: " + b"a" * 30_000 + b"\r\n"))
        assert connection.answer()[0] == 200


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost", b"\r\n"])
def test_a_head_that_does_not_end_is_408(serve: Callable[..., Any], start: bytes) -> None:
    service = serve(head_timeout_s=0.3)
    with connected(service) as connection:
        connection.send(start)
        status, body = connection.answer()
        assert (status, "within 0.3 s" in json.loads(body)["error"]) == (408, True)


@pytest.mark.parametrize("make", [post, chunked])
@pytest.mark.parametrize("split", [None, 1, 20, 150, -60, -3])
def test_an_upgrade_to_http2_is_ignored_and_the_body_read(
    service: Any, make: Callable[..., bytes], split: int | None
) -> None:
    plain = service.http.post("/embed", content=BODY).json()
    request = make(extra=H2C)
    with connected(service) as connection:
        for _ in range(10):
            connection.send(request[:split])
            if split is not None:
                # The service answers this one between the two packets.
                assert service.http.get("/.well-known/live").status_code == 204
                connection.send(request[split:])
            status, body = connection.answer()
            assert (status, json.loads(body)) == (200, plain)


def test_an_upgrade_in_packets_of_one_byte_beside_other_requests(service: Any) -> None:
    with connected(service) as connection:
        for byte in PING + post(extra=H2C) + PING + chunked(extra=H2C) + PING:
            connection.send(bytes([byte]))
        statuses = [connection.answer()[0] for _ in range(5)]
    assert statuses == [204, 200, 204, 200, 204]


def test_a_websocket_is_refused_as_any_request(service: Any) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n"
    with connected(service) as connection:
        connection.send(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
        assert connection.answer()[0] == 404
        connection.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.answer()[0] == 405


def test_pipelined_requests_are_answered_one_after_the_other(service: Any) -> None:
    bodies = [json.dumps({"inputs": [f"text {n}"]}).encode() for n in range(100)]
    expected = [service.http.post("/embed", content=body).content for body in bodies]
    with connected(service) as connection:
        connection.send(b"".join(map(post, bodies)))
        assert [connection.answer() for _ in bodies] == [(200, each) for each in expected]


def test_a_client_that_pipelines_and_does_not_read_holds_little(serve: Callable[..., Any]) -> None:
    service = serve(stall_timeout_s=0.5)
    get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    before = _requests(service)
    with connected(service) as connection:
        connection.socket.settimeout(0.2)
        connection.send(get * 1_000_000)
        service.wait_until(lambda: len(service.connections) == 1)
    # What the kernel's buffers take is answered, a million requests are not.
    assert _requests(service) - before < 20_000


def test_a_flood_of_requests_ahead_is_answered_in_part_and_closed(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated()
    with connected(service) as connection:
        connection.send(post())
        assert gated_engine.entered.wait(120)
        connection.socket.settimeout(0.1)
        connection.send(PING * 100_000)
        connection.socket.settimeout(60)
        gated_engine.gate.set()
        assert connection.answer()[0] == 200
        assert b"HTTP/1.1 204" not in connection.rest()


def test_bytes_after_a_request_that_are_no_http_come_second(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated()
    with connected(service) as connection:
        connection.send(post() + b"NONSENSE\r\n\r\n")
        assert gated_engine.entered.wait(120)
        gated_engine.gate.set()
        assert connection.answer()[0] == 200
        assert connection.answer()[0] == 400


def test_a_body_below_the_rate_is_408_and_one_above_is_served(serve: Callable[..., Any]) -> None:
    service = serve(stall_timeout_s=0.4, minimum_bytes_per_s=100)
    with connected(service) as connection:
        connection.send(post()[:-20])
        status, body = connection.answer()
        assert (status, "at least 100 a second" in json.loads(body)["error"]) == (408, True)
    service.wait_until(lambda: service.service.in_flight_requests == 0)
    spaces = post(BODY + b" " * 40)[:-40]
    assert service.exchange(spaces, drops=40)[0] == 408
    patient = serve(stall_timeout_s=1, minimum_bytes_per_s=1)
    assert patient.exchange(spaces, drops=40)[0] == 200


def test_the_rest_of_a_body_nobody_reads_has_one_window(serve: Callable[..., Any]) -> None:
    service = serve(stall_timeout_s=0.4)
    with connected(service) as connection:
        connection.send(post(b"x" * 100, path=b"/nothing")[:-50])
        assert connection.answer()[0] == 404
        assert connection.rest() == b""


def test_an_answer_that_is_not_read_is_closed(serve: Callable[..., Any]) -> None:
    service = serve(stall_timeout_s=0.5)
    body = json.dumps({"inputs": ["a"] * 4096}).encode()
    full = service.http.post("/embed", content=body).content
    with connected(service, receives=4096) as connection:
        connection.send(post(body) * 20)
        service.wait_until(lambda: len(service.connections) == 1)
        assert len(connection.rest()) < 20 * len(full)
    # A client that reads slowly but steadily gets everything.
    with connected(service) as connection:
        connection.send(post(body))
        assert connection.answer() == (200, full)


def test_a_connection_that_never_sends_is_closed(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(head_timeout_s=0.4)
    settings = service.service.settings.model_copy(update={"keep_alive_s": 0.4})
    with connected(service) as connection:
        service.wait_until(lambda: len(service.connections) == 1)
        for each in list(service.connections._group_of):
            monkeypatch.setattr(each, "_settings", settings)
        assert connection.rest() == b""


def _requests(service: Any) -> int:
    text = service.http.get("/metrics").text
    head = "lusifer_request_duration_seconds_count{"
    return int(sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(head)))
