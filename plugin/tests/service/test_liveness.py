from __future__ import annotations

import socket

import httpx
import pytest

from lusifer.errors import SettingsError
from lusifer.service.liveness import Liveness


def test_a_frozen_loop_is_alive_and_a_stalled_one_is_not() -> None:
    """Nobody beats: no event loop is needed for an answer."""
    patient, strict = Liveness("127.0.0.1", 0), Liveness("127.0.0.1", 0, stall_s=0.0)
    try:
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{patient.port}/live").status_code == 204
        assert httpx.get(f"http://127.0.0.1:{strict.port}/").status_code == 503
        strict._stall_s = 60.0
        strict.beat()
        assert httpx.get(f"http://127.0.0.1:{strict.port}/").status_code == 204
    finally:
        patient.close()
        strict.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{patient.port}/")


def test_clients_that_say_nothing_block_nobody() -> None:
    liveness = Liveness("127.0.0.1", 0)
    silent = []
    try:
        for _ in range(200):
            silent.append(socket.create_connection(("127.0.0.1", liveness.port), timeout=10))
        # One after the other they would take 200 s.
        answer = httpx.get(f"http://127.0.0.1:{liveness.port}/", timeout=10)
        assert answer.status_code == 204
    finally:
        for each in silent:
            each.close()
        liveness.close()


def test_a_silent_client_is_dropped() -> None:
    liveness = Liveness("127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", liveness.port), timeout=30) as silent:
            assert silent.recv(1) == b""
    finally:
        liveness.close()


def test_a_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} can't be listened on"):
            Liveness("127.0.0.1", port)
