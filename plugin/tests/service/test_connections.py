"""Many clients at once: limits of connections, and a process without file descriptors."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from lusifer.service.connections import Connections, Listener, address_group
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin.tests.service.conftest import GatedEngine


@pytest.mark.parametrize(
    ("address", "group"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:0:1:a::1", 1, 0, 0), "2001:db8:0:1::/64"),
        (("2001:db8:0:1:b::2", 1, 0, 0), "2001:db8:0:1::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", None),
    ],
)
def test_what_counts_as_one_address(address: object, group: str | None) -> None:
    assert address_group(address) == group


class Client:
    """A connection as :class:`Connections` sees it."""

    def __init__(self, rank: int | None, since_s: float = 0.0) -> None:
        self.rank, self.idle_since_s, self.evicted = rank, since_s, False

    def eviction_rank(self) -> int | None:
        return self.rank

    def evict(self) -> None:
        self.evicted = True


def filled(*clients: tuple[Client, str | None], **settings: int) -> Connections:
    connections = Connections(Settings(**settings))
    for client, group in clients:
        connections.add(client, group)  # type: ignore[arg-type]
    return connections


def test_room_is_made_by_the_lowest_rank_of_the_largest_group_that_waits_longest() -> None:
    busy = Client(None)
    waiting = [Client(2, since_s) for since_s in (5.0, 3.0, 4.0)]
    stalled = Client(3, 1.0)
    connections = filled(
        (busy, "a"),
        (stalled, "a"),
        (waiting[0], "b"),
        *((each, "c") for each in waiting[1:]),
        maximum_connections=5,
    )
    for expected in (waiting[1], waiting[2], waiting[0], stalled):
        assert not expected.evicted
        assert connections.has_room("d")
        assert expected.evicted
        connections.add(Client(None), "d")  # type: ignore[arg-type]
    assert not connections.has_room("d")
    assert not busy.evicted
    assert len(connections) == 5


def test_some_clients_that_were_never_served_make_room_together() -> None:
    silent = [Client(1, since_s) for since_s in (1.0, 2.0, 3.0)]
    served = [Client(2) for _ in range(61)]
    connections = filled(*((each, "a") for each in (*silent, *served)), maximum_connections=64)
    assert connections.has_room("b")
    assert [each.evicted for each in silent] == [True, True, False]
    for each in (Client(None), Client(None)):
        connections.add(each, "b")  # type: ignore[arg-type]
    assert connections.has_room("b")
    assert silent[2].evicted
    assert not any(each.evicted for each in served)


def test_an_address_makes_room_among_its_own() -> None:
    other, own = Client(0), Client(2)
    connections = filled((other, "a"), (own, "b"), maximum_connections_per_address=1)
    assert connections.has_room("b")
    assert (other.evicted, own.evicted) == (False, True)
    connections.add(Client(None), "b")  # type: ignore[arg-type]
    assert not connections.has_room("b")
    assert connections.has_room("c")
    # The clients of a Unix socket have no address.
    assert connections.has_room(None)


def test_the_limit_of_open_files_bounds_the_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"soft": 256, "hard": 400}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], limits["hard"]))
    monkeypatch.setattr(
        resource, "setrlimit", lambda _, pair: limits.update(soft=pair[0], hard=pair[1])
    )
    assert 200 < Connections(Settings()).maximum < 400 - 64
    assert limits == {"soft": 400, "hard": 400}
    assert "400 open files allow" in caplog.text
    limits.update(soft=256, hard=resource.RLIM_INFINITY)
    assert Connections(Settings()).maximum == Settings().maximum_connections
    assert limits["soft"] > 2048


def test_silent_connections_make_room_and_busy_ones_do_not(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated(maximum_connections=20)
    place = ("127.0.0.1", service.port)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(place))
        assert service.http.get("/.well-known/live").status_code == 204
        service.wait_until(lambda: 0 < len(service.connections) <= 20)
        assert b"lusifer_open_connections" in service.http.get("/metrics").content
        busy = [stack.enter_context(socket.create_connection(place)) for _ in range(19)]
        body = b'{"text": "a"}'
        for each in busy:
            each.sendall(
                b"POST /vectors HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
        service.wait_until(lambda: service.service.in_flight_requests == 19)
        # The place of the client that has been served goes to the next one, then none is left.
        last = stack.enter_context(socket.create_connection(place))
        last.sendall(b"GET / HTTP/1.1\r\n")
        service.wait_until(lambda: len(service.connections) == 20)
        stack.enter_context(socket.create_connection(place))
        gated_engine.gate.set()
        for each in busy:
            assert each.recv(12) == b"HTTP/1.1 200"
    service.wait_until(lambda: len(service.connections) <= 1)


def test_a_client_without_a_place_is_told(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any]
) -> None:
    service = serve_gated(maximum_connections=1, maximum_connections_per_address=1)
    place = ("127.0.0.1", service.port)
    with socket.create_connection(place) as busy:
        busy.sendall(
            b'POST /vectors HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{"text": "a"}'
        )
        service.wait_until(lambda: service.service.in_flight_requests == 1)
        with socket.create_connection(place) as told:
            assert told.recv(12) == b"HTTP/1.1 503"
        gated_engine.gate.set()


def test_accepting_goes_on_when_there_was_no_descriptor(
    service: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (listener,) = service._server.servers
    assert isinstance(listener, Listener)
    real = listener._socket
    failures = 3

    class Exhausted:
        def accept(self) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return real.accept()

        def fileno(self) -> int:
            return real.fileno()

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patched:
        patched.setattr(listener, "_socket", Exhausted())
        assert service.http.get("/.well-known/live").status_code == 204
    assert failures == 0
    assert caplog.text.count("Too many open files") == 3
