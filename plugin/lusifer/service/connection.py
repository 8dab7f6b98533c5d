"""One HTTP connection under limits, which uvicorn's protocol class has not.

::

    bytes ─ held while a request is answered ─ slices ─ parser ─ application ─ bytes
                                                 │                     │
                                  size and time of a head, speed       speed of a
                                  of a body                            reader

The parser gets no byte of a next request before the answer to the last one has left, so that a
client that sends on without reading fills its own buffers and not this process.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING, Any

import httptools
import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lusifer.service.client_speed import ClientSpeed
from lusifer.service.connections import LimitedConnection
from lusifer.service.http_upgrade import head_without_upgrade

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn import Config
    from uvicorn.server import ServerState

    from lusifer.service.connections import Connections
    from lusifer.service.settings import Settings

__all__ = ["HttpConnection"]

_LOG = logging.getLogger("lusifer.service")

_HEAD_SLICE_BYTES = 1024
"""Bytes the parser is given at once outside a body: at most a few dozen requests."""

_BODY_SLICE_BYTES = 65_536
"""Bytes the parser is given at once in a body."""

_MAXIMUM_PIPELINED = 64
"""Requests on one connection that may wait for their turn."""

_MAXIMUM_HEADERS = 128
"""Header fields of a request, trailers included."""

_LINGER_S = 2.0
"""Seconds a refused client has to read why. Closing at once would take the answer from it."""

_LINGER_BYTES = 2**20
"""Bytes that are read of a refused client: to discard them costs time too."""

_STALLED_S = 5.0
"""Seconds without a byte after which a connection may be closed to make room."""


class HttpConnection(HttpToolsProtocol, LimitedConnection):
    """A connection whose client can hold neither memory nor a place for long.

    All times are of ``Connections.now_s``, which stands still while the event loop is blocked: a
    client isn't blamed for what the service was too busy to read.

    Args:
        settings: The limits.
        connections: All connections of the service, among which this one is counted.
        config: Configuration of uvicorn.
        server_state: State of uvicorn's server.
        app_state: State of the application.
    """

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state)
        self._settings = settings
        self._connections = connections
        self._application: ASGIApp = self.app
        self.app = self._respond
        self._held = bytearray()
        self._failure: tuple[int, str] | None = None
        self._discarded_bytes = self._unused_bytes = 0
        """Bytes since the parser last gave a head, a part of a body or the end of a message."""
        self._received_bytes = self._sent_bytes = 0
        now_s = connections.now_s
        self._head_since_s: float | None = None
        self._in_body = False
        self.idle_since_s = now_s
        self._refused_since_s: float | None = None
        self._has_served = False
        self._speed = ClientSpeed(settings, now_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: bool(self._held or self._failure))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._held.clear()
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, or hold it until the answer before it has left."""
        self._unset_keepalive_if_required()
        self._received_bytes += len(data)
        if self._refused_since_s is not None:
            self._unused_bytes += len(data)
            if self._unused_bytes > _LINGER_BYTES:
                self.flow.pause_reading()
        elif not self.transport.is_closing():
            if self._held:
                self._hold(data)
            else:
                self._feed(data)

    def resume_writing(self) -> None:
        """Go on with the next request when the client has read."""
        super().resume_writing()
        self._go_on()

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is over a limit or its head comes again without upgrade."""
        if self.parser.should_upgrade() or self._failure is not None:
            return
        if len(self.headers) > _MAXIMUM_HEADERS:
            self._fail(431, f"The request has more than {_MAXIMUM_HEADERS} header fields.")
            return
        if len(self.pipeline) >= _MAXIMUM_PIPELINED:
            self._close_after_answers()
            return
        super().on_headers_complete()
        self._head_since_s, self._in_body = None, True
        self._unused_bytes = self._discarded_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._in_body:
            self._unused_bytes = 0
            super().on_body(body)
            if self.cycle.response_complete:
                self._discarded_bytes += len(body)
                if self._discarded_bytes > self._settings.maximum_body_bytes:
                    self.transport.close()

    def on_message_complete(self) -> None:
        """End a request's body."""
        if self._in_body:
            self._in_body, self._unused_bytes = False, 0
            if self.cycle.response_complete:
                self.idle_since_s = self._connections.now_s
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request on this connection."""
        self._has_served, self.idle_since_s = True, self._connections.now_s
        super().on_response_complete()
        self._go_on()

    def eviction_rank(self) -> int | None:
        """Return how soon this connection is closed for another one.

        First go refused clients, then those that never finished a request's head, then idle ones,
        and last those whose client neither sends nor reads for some seconds.
        """
        if self.transport is None:  # accepted a moment ago
            return None
        if self._refused_since_s is not None:
            return 0
        unsent = self._unsent()
        if not unsent and not self._in_body and not self._is_answering():
            return 2 if self._has_served and self._head_since_s is None else 1
        stalled = self._connections.now_s - self._speed.moved_s >= _STALLED_S
        return 3 if stalled and self._waits_for_client(unsent) else None

    def evict(self) -> None:
        """Close the connection at once, and have the kernel forget what was not read."""
        connected: socket.socket = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def check(self) -> None:
        """Close or refuse the connection if its client takes too long. Called every second."""
        if self.transport is None:
            return
        now_s, settings, unsent = self._connections.now_s, self._settings, self._unsent()
        self._speed.note(self._received_bytes + self._sent_bytes - unsent, unsent, now_s)
        if self._refused_since_s is not None:
            if now_s - self._refused_since_s >= _LINGER_S:
                self.evict()
        elif self._waits_for_client(unsent):
            if unsent or self._is_answering():
                if reason := self._speed.complaint(now_s):
                    self._refuse(408, reason)
            elif now_s - self.idle_since_s >= settings.stall_timeout_s:
                self.transport.close()  # the rest of a body that nobody reads
        else:
            self._speed.restart(now_s)
            self._check_waiting(now_s, settings)

    def _check_waiting(self, now_s: float, settings: Settings) -> None:
        if self._is_answering():
            if self._head_since_s is not None:  # of the next request, which isn't read now
                self._head_since_s = now_s
        elif self._head_since_s is not None:
            if now_s - self._head_since_s >= settings.head_timeout_s:
                self._refuse(
                    408, f"The head was not complete within {settings.head_timeout_s:g} s."
                )
        elif now_s - self.idle_since_s >= settings.keep_alive_s:
            self.transport.close()

    # Reading.

    def _feed(self, data: bytes) -> None:
        view, start = memoryview(data), 0
        while start < len(data) and self._failure is None:
            if self._must_wait():
                self._hold(view[start:])
                return
            if self._head_since_s is None and not self._in_body:
                self._head_since_s = self._connections.now_s
            size = _BODY_SLICE_BYTES if self._in_body else _HEAD_SLICE_BYTES
            piece = view[start : start + size]
            self._unused_bytes += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                start += upgrade.args[0]
                self._ignore_upgrade()
                continue
            except httptools.HttpParserError:
                self._fail(400, "The request is not valid HTTP.")
            start += len(piece)
            if self._unused_bytes > self._settings.maximum_head_bytes:
                self._fail(
                    431, f"The head has more than {self._settings.maximum_head_bytes} bytes."
                )
            elif self._in_body and len(self.headers) > _MAXIMUM_HEADERS:
                self._fail(431, f"The request has more than {_MAXIMUM_HEADERS} header fields.")
        self._refuse_if_failed()

    def _ignore_upgrade(self) -> None:
        """Parse the head again without its upgrade, after which its body follows.

        The JDK's client and ``curl --http2`` ask for ``h2c`` with every first request. A server may
        ignore that, but the parser ends the message there.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._fail(405, "CONNECT is not served.")
            return
        version = self.parser.get_http_version()
        head = head_without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(400, "The request is not valid HTTP.")

    def _hold(self, data: bytes | memoryview) -> None:
        self.flow.pause_reading()
        self._held += data
        if len(self._held) > _BODY_SLICE_BYTES:
            # No client needs this, and a closed connection tells it to send the rest again.
            self._close_after_answers()

    def _close_after_answers(self) -> None:
        self._held.clear()
        self._fail(503, f"More than {_MAXIMUM_PIPELINED} requests were sent ahead.")
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _go_on(self) -> None:
        if (self._held or self._failure) and not self.transport.is_closing():
            self.loop.call_soon(self._feed_held)

    def _feed_held(self) -> None:
        if self.parser is None or self.transport.is_closing() or self._must_wait():
            return
        data = bytes(self._held)
        self._held.clear()
        self.flow.resume_reading()
        self._feed(data)

    def _must_wait(self) -> bool:
        """Return whether the next bytes belong to a request whose turn has not come."""
        return (
            bool(self.pipeline)
            or self.flow.write_paused
            or (not self._in_body and self._is_answering())
        )

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _waits_for_client(self, unsent: int) -> bool:
        if unsent:
            return True
        return (
            self._in_body and not self.flow.read_paused and not self.cycle.waiting_for_100_continue
        )

    # Writing.

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, whose answer returns when the client has taken it.

        So what the application holds for an answer it holds until the client has read it.
        """

        async def send_and_wait(message: Message) -> None:
            self._sent_bytes += len(message.get("body", b""))
            await send(message)
            if self.flow.write_paused:
                await self.flow.drain()

        await self._application(scope, receive, send_and_wait)

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    # Refusing.

    def _fail(self, status: int, reason: str) -> None:
        if self._failure is None:
            self._failure = (status, reason)
            self.flow.pause_reading()

    def _refuse_if_failed(self) -> None:
        # An answer in progress comes first, or the client would take the refusal for it.
        waits = bool(self.pipeline) or (self._is_answering() and not self._in_body)
        if self._failure is not None and not waits and not self.flow.write_paused:
            self._refuse(*self._failure)

    def _refuse(self, status: int, reason: str) -> None:
        """Answer in place of the application and close, with time to read the answer."""
        if self._refused_since_s is not None:
            return
        self._refused_since_s = self._connections.now_s
        self._connections.refused()
        _LOG.warning("connection refused: %s", reason, extra={"status": status})
        self._held.clear()
        self.pipeline.clear()
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        is_answered = self._is_answering() and self.cycle.response_started
        if self._unsent() or is_answered or self.transport.is_closing():
            self.evict()
            return
        content = orjson.dumps({"error": reason, "type": "ConnectionRefused"})
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            + str(len(content)).encode()
            + b"\r\n\r\n"
            + content
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._failure, self._unused_bytes = None, 0
        self.flow.resume_reading()


class _Flow(FlowControl):
    """Flow control that does not read on while bytes are held or a refusal waits."""

    def __init__(self, transport: asyncio.Transport, holds: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._holds = holds

    def resume_reading(self) -> None:
        """Read on, unless there is a reason against it."""
        if not self._holds():
            super().resume_reading()
