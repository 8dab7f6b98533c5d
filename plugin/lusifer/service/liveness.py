"""A sign of life in a thread and on a port of its own, for whoever restarts a dead process.

The event loop may freeze for seconds, under an attack or on a busy machine. A restart then would
cut off every request in flight and load the model again, just when there is most to do; readiness
already keeps new requests away. So a frozen loop is alive. It counts as dead after minutes: then it
is a deadlock, which nothing but a restart ends. Where Python itself hangs, this thread can't answer
either, and where the process has ended, nothing does.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress

from lusifer.errors import SettingsError

__all__ = ["Liveness"]

_STALL_S = 300.0
_CLIENT_TIMEOUT_S = 1.0
"""Seconds that a client may take to ask."""
_MAXIMUM_CLIENTS = 64
"""Clients that may take their time at once; of more, the oldest is dropped."""

_ALIVE = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
_DEAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Liveness:
    """Answers every request on a port: 204, or 503 if the event loop has not moved for minutes.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        stall_s: Seconds without :meth:`beat` after which the process counts as dead.

    Raises:
        SettingsError: The address can't be listened on.
    """

    def __init__(self, host: str, port: int, *, stall_s: float = _STALL_S) -> None:
        self._stall_s = stall_s
        self._beat_s = time.monotonic()
        self._closed = False
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server(
                (host, port), family=family, backlog=_MAXIMUM_CLIENTS
            )
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} can't be listened on: {error.strerror}.",
                next_step="Give another --live-port (0 takes a free one).",
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="lusifer-liveness", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Record that the event loop has moved."""
        self._beat_s = time.monotonic()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._closed = True
        self._wake.send(b"x")
        self._thread.join()
        self._wake.close()

    def _serve(self) -> None:
        """Answer clients as their requests come; none waits for another one's."""
        clients: dict[socket.socket, float] = {}  # when each has connected, oldest first
        with selectors.DefaultSelector() as selector, self._listener, self._woken:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closed:
                for key, _ in selector.select(_CLIENT_TIMEOUT_S):
                    ready = key.fileobj
                    if ready is self._listener:
                        self._accept(selector, clients)
                    elif isinstance(ready, socket.socket) and ready in clients:
                        del clients[ready]
                        selector.unregister(ready)
                        self._answer(ready)
                over = len(clients) - _MAXIMUM_CLIENTS
                late_s = time.monotonic() - _CLIENT_TIMEOUT_S
                for number, (client, since_s) in enumerate(list(clients.items())):
                    if number < over or since_s < late_s:
                        del clients[client]
                        selector.unregister(client)
                        client.close()
            for client in clients:
                client.close()

    def _accept(
        self, selector: selectors.BaseSelector, clients: dict[socket.socket, float]
    ) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # no descriptor is left, or the client has gone
            time.sleep(0.1)
            return
        client.setblocking(False)
        clients[client] = time.monotonic()
        selector.register(client, selectors.EVENT_READ)

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            # Whatever is asked, and no more of it than one read.
            client.recv(4096)
            alive = time.monotonic() - self._beat_s < self._stall_s
            client.sendall(_ALIVE if alive else _DEAD)
