"""Ports for servers of tests and benchmarks, and waiting until a server answers."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(
    url: str, *, timeout_s: float, check_alive: Callable[[], None] = lambda: None
) -> None:
    """Wait until a URL answers with a 2xx status.

    Args:
        url: Where the server says that it is ready.
        timeout_s: Longest wait.
        check_alive: Raises where waiting is pointless, because the process has ended.

    Raises:
        TimeoutError: It did not in time.
    """
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        check_alive()
        try:
            if httpx.get(url, timeout=10, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} was not ready in {timeout_s:g} s")
