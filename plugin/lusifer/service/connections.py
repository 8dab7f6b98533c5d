"""All connections of the service: how many there may be, who makes room, and who waits too long."""

from __future__ import annotations

import asyncio
import errno
import heapq
import ipaddress
import logging
import socket
import sys
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.service.settings import Settings

__all__ = ["Connections", "LimitedConnection", "Listener", "address_group"]

_LOG = logging.getLogger("lusifer.service")

_RESERVED_FILES = 64
"""File descriptors kept for everything but connections: the model, the cache, keys, threads."""

_MINIMUM_CONNECTIONS = 16
_CHECK_S = 1.0
_ACCEPTED_AT_ONCE = 8
_EVICTED_SHARE = 32
"""One of so many connections is closed at once, if never served. Of others it is one at a time."""

_ACCEPT_RETRY_S = 0.25

_UNSENT_BYTES = 131_072
"""Bytes of answers that the kernel takes before a client reads them."""

_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"retry-after: 1\r\nconnection: close\r\ncontent-length: 66\r\n\r\n"
    b'{"error": "Too many connections are open.", "type": "Overloaded"}\n'
)


class LimitedConnection(ABC, asyncio.Protocol):
    """What is asked of a connection: whether it can make room, and to check its client."""

    idle_since_s: float
    """When the connection began to wait, for the order of closing."""

    @abstractmethod
    def eviction_rank(self) -> int | None:
        """Return how soon this connection is closed for another one, 0 first, None for never."""

    @abstractmethod
    def evict(self) -> None:
        """Close the connection at once."""

    @abstractmethod
    def check(self) -> None:
        """Close or refuse the connection if its client takes too long. Called every second."""


class Connections:
    """Counts the open connections, closes idle ones for new ones, and checks each every second.

    Args:
        settings: The limits.
        refused: Called for each connection that is refused.
    """

    def __init__(self, settings: Settings, refused: Callable[[], None] = lambda: None) -> None:
        self.refused = refused
        self.now_s = 0.0
        """Seconds of a clock that stands still while the event loop is blocked."""
        self.maximum = _allowed_by_files(settings.maximum_connections)
        self._by_address = min(settings.maximum_connections_per_address, self.maximum)
        self._group_of: dict[LimitedConnection, str | None] = {}
        self._counts: Counter[str | None] = Counter()
        shortest_s = min(settings.head_timeout_s, settings.stall_timeout_s)
        self._interval_s = min(_CHECK_S, shortest_s / 4)

    def __len__(self) -> int:
        return len(self._group_of)

    def start(self) -> None:
        """Check the connections from now on, in the running event loop."""
        loop = asyncio.get_running_loop()
        before_s = loop.time()

        def check() -> None:
            nonlocal before_s
            now_s = loop.time()
            # A late check means that the loop was blocked, and then no client could be read.
            self.now_s += min(now_s - before_s, 2 * self._interval_s)
            before_s = now_s
            for connection in list(self._group_of):
                connection.check()
            loop.call_later(self._interval_s, check)

        loop.call_later(self._interval_s, check)

    def has_room(self, group: str | None) -> bool:
        """Return whether one more connection of this group fits, after closing an idle one."""
        if group is not None and self._counts[group] >= self._by_address:
            return self.evict(group)
        return len(self) < self.maximum or self.evict()

    def add(self, connection: LimitedConnection, group: str | None) -> None:
        """Count a connection, until :meth:`discard`."""
        self._group_of[connection] = group
        self._counts[group] += 1

    def discard(self, connection: LimitedConnection) -> None:
        """Count a connection no more."""
        if connection in self._group_of:
            group = self._group_of.pop(connection)
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]

    def evict(self, group: str | None = None) -> bool:
        """Close the connections that are missed least; with a group, of that group alone.

        Returns:
            False if every connection is in use.
        """
        ranked = [
            (rank, -self._counts[its_group], connection.idle_since_s, number, connection)
            for number, (connection, its_group) in enumerate(self._group_of.items())
            if (group is None or its_group == group)
            and (rank := connection.eviction_rank()) is not None
        ]
        victims = heapq.nsmallest(max(1, self.maximum // _EVICTED_SHARE), ranked)
        for number, (rank, *_, victim) in enumerate(victims):
            # Those that were never served go together, or a flood would have all ranked each time.
            if number == 0 or rank <= 1:
                self.discard(victim)
                victim.evict()
        return bool(victims)


class Listener:
    """Accepts the connections of one socket. uvicorn stops it as it stops an ``asyncio.Server``.

    The event loops' own accepting ends or floods the log when the process has no file descriptor
    left. This one closes idle connections and goes on.

    Args:
        listening: A socket that listens.
        connections: All connections of the service.
        new_connection: Makes the protocol of a connection.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        new_connection: Callable[[], LimitedConnection],
    ) -> None:
        self._socket = listening
        self._connections = connections
        self._new_connection = new_connection
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)

    async def wait_closed(self) -> None:
        """Return at once, as nothing is left to wait for."""

    def _accept(self) -> None:
        if self._tasks:  # those accepted last can't make room yet
            return
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                self._pause(error)
                return
            group = address_group(address)
            if not self._connections.has_room(group):
                _refuse(accepted)
                self._connections.refused()
                _LOG.warning("connection refused: %d are open", len(self._connections))
                continue
            if group is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                # The kernel would take megabytes, for which the service works before it notices.
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            connection = self._new_connection()
            self._connections.add(connection, group)
            task = self._loop.create_task(self._begin(connection, accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _begin(self, connection: LimitedConnection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # the client has gone already
            self._connections.discard(connection)
            accepted.close()

    def _pause(self, error: OSError) -> None:
        _LOG.warning("no connection can be accepted now: %s", error.strerror)
        self._connections.evict()
        self._loop.remove_reader(self._socket)
        self._loop.call_later(_ACCEPT_RETRY_S, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)


def address_group(address: object) -> str | None:
    """Return what counts as one address: an IPv4 address or an IPv6 network of 64 bits.

    Returns:
        None for a Unix socket, whose clients have no address.
    """
    if not isinstance(address, tuple):
        return None
    ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def _refuse(accepted: socket.socket) -> None:
    """Say why and close. The client may have sent nothing yet, so this does not wait for it."""
    accepted.setblocking(False)
    with accepted:
        with suppress(OSError):
            # What is left unread would make the kernel drop the answer.
            accepted.recv(65_536)
        with suppress(OSError):
            accepted.send(_REFUSAL)
            accepted.shutdown(socket.SHUT_WR)


def _allowed_by_files(wanted: int) -> int:
    """Return how many connections the limit of open files admits, after raising it where needed."""
    if sys.platform == "win32":
        return wanted
    import resource

    used = sum(1 for _ in Path("/dev/fd").iterdir())
    needed = wanted + used + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = max(_MINIMUM_CONNECTIONS, soft - used - _RESERVED_FILES)
    _LOG.warning(
        "%d open files allow %d connections, not %d: raise the limit of open files (ulimit -n)",
        soft,
        allowed,
        wanted,
    )
    return allowed
