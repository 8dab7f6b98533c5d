"""Slow, greedy and foreign clients of a real ``lusifer serve`` beside honest traffic."""

from __future__ import annotations

import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from integration_tests.attacks import Honest, Serving, make_bundle, unharmed

from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("onnx")

OPEN_FILES = 300
STALL_S = 2


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, key: dict[str, str]) -> Iterator[Serving]:
    """Serve with few file descriptors and short times, so that the attacks need not be long."""
    folder = tmp_path_factory.mktemp("connections")
    key |= {name: add_key(folder / "keys.toml", name) for name in ("honest", "attacker")}
    made = Serving(
        folder,
        make_bundle(folder / "model"),
        open_files=OPEN_FILES,
        api_keys_file=folder / "keys.toml",
        head_timeout_s=STALL_S,
        stall_timeout_s=STALL_S,
        cache="off",
    )
    yield made
    made.stop()


@pytest.fixture(scope="module")
def honest(
    serving: Serving, key: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Honest]:
    made = Honest(serving, tmp_path_factory.mktemp("honest"), key=key["honest"])
    yield made
    made.close()


def send(connection: socket.socket, data: bytes, *, for_s: float) -> None:
    """Send the bytes again and again, as far as the service takes them."""
    ends_s = time.monotonic() + for_s
    connection.settimeout(0.2)
    with suppress(ConnectionError):
        while time.monotonic() < ends_s:
            with suppress(TimeoutError):
                connection.send(data)


def is_closed(connection: socket.socket, *, within_s: float = 20) -> bool:
    """Wait until the service closes the connection, without reading what it sent."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(1000 * within_s))


def test_requests_are_sent_ahead_and_no_answer_is_read(
    serving: Serving, honest: Honest, key: dict[str, str]
) -> None:
    head = f"Host: localhost\r\nAuthorization: Bearer {key['attacker']}\r\n\r\n"
    requests = f"GET /metrics HTTP/1.1\r\n{head}".encode() * 300
    with unharmed(serving, honest), ExitStack() as stack:
        attackers = [stack.enter_context(serving.connect(receive_bytes=4096)) for _ in range(9)]
        for each in attackers:
            each.sendall(requests)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda each: send(each, requests, for_s=2), attackers[:3]))
        assert all(map(is_closed, attackers))


def test_heads_without_end(serving: Serving, honest: Honest) -> None:
    heads = (
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 20_000),
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 100_000),
        (b"GET /", b"a" * 100_000),
    )
    with unharmed(serving, honest, after_s=0.5), ExitStack() as stack:
        attackers = [(stack.enter_context(serving.connect()), *head) for head in 3 * heads]
        for connection, start, _ in attackers:
            connection.sendall(start)
        with ThreadPoolExecutor(9) as pool:
            list(pool.map(lambda each: send(each[0], each[2], for_s=1), attackers))
        assert all(is_closed(connection) for connection, _, _ in attackers)
        for start, more in heads:
            with serving.connect() as connection:
                connection.sendall(start + more[:50_000])
                assert connection.recv(12) == b"HTTP/1.1 431"


def test_more_silent_connections_than_file_descriptors(serving: Serving, honest: Honest) -> None:
    logged = len(serving.log_text())
    with unharmed(serving, honest), ExitStack() as stack:
        for _ in range(2 * OPEN_FILES):
            stack.enter_context(serving.connect())
        for _ in range(20):
            # A connection of its own for each.
            served = httpx.get(f"{serving.url}/.well-known/ready", trust_env=False, timeout=20)
            assert served.status_code == 204
    assert len(serving.log_text()) - logged < 500_000


def test_bodies_that_do_not_end(serving: Serving, honest: Honest, key: dict[str, str]) -> None:
    body = b'{"inputs": "' + b"a" * 15 * 2**20
    request = serving.post("/embed", body, authorization=f"Bearer {key['attacker']}")[:-1000]
    with unharmed(serving, honest), ExitStack() as stack:
        attackers = [stack.enter_context(serving.connect()) for _ in range(8)]
        for each in attackers:
            # Not at once: what is attacked here is memory.
            for start in range(0, len(request), 2**19):
                with suppress(ConnectionError):
                    each.sendall(request[start : start + 2**19])
                time.sleep(0.01)
        left = attackers
        ends_s = time.monotonic() + 20
        while left and time.monotonic() < ends_s:
            for each in left:
                with suppress(ConnectionError):
                    each.sendall(b"a")
            left = [each for each in left if not is_closed(each, within_s=0.05)]
        assert not left


def test_pages_of_others(serving: Serving, honest: Honest, key: dict[str, str]) -> None:
    foreign = (
        {"origin": "https://evil.example", "content-type": "text/plain"},
        {"host": "evil.example", "content-type": "application/json"},
        {"sec-fetch-site": "cross-site", "content-type": "application/json"},
    )
    with unharmed(serving, honest, after_s=0.1):
        for headers in foreign:
            for path, body in (("/vectors", b'{"text": "a"}'), ("/embed", b'{"inputs": "a"}')):
                known = {**headers, "authorization": f"Bearer {key['attacker']}"}
                answer = serving.http.post(path, content=body, headers=known)
                assert answer.status_code == 403
        assert serving.http.get("/status", headers={"host": "evil.example"}).status_code == 403


def test_keys_of_any_bytes(serving: Serving, honest: Honest) -> None:
    with unharmed(serving, honest, after_s=0.1):
        for value in (b"Basic \xe9", b"Bearer \xff\xfe", b"Basic \xc3\xa9", b"\x80" * 1000):
            with serving.connect() as connection:
                connection.sendall(
                    b"POST /vectors HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
                    + value
                    + b'\r\nContent-Length: 13\r\n\r\n{"text": "a"}'
                )
                assert connection.recv(12) == b"HTTP/1.1 401"
    assert "Traceback" not in serving.log_text()
