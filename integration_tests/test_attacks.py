"""Attacks on a real ``lusifer serve`` beside honest traffic, which must not suffer."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from integration_tests.attacks import ACCOUNT_BYTES, Honest, Serving, make_bundle, unharmed

from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return make_bundle(folder / "model")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """Make two API keys, by name."""
    return {name: add_key(folder / "keys.toml", name) for name in ("honest", "attacker")}


@pytest.fixture(scope="module")
def serving(folder: Path, bundle: Path, keys: dict[str, str]) -> Iterator[Serving]:
    """Serve with API keys and without a cache, whose hits would hide a stopped engine."""
    made = Serving(
        folder,
        bundle,
        cache="off",
        api_keys_file=folder / "keys.toml",
        in_flight_bytes=ACCOUNT_BYTES,
    )
    yield made
    made.stop()


@pytest.fixture(scope="module")
def honest(serving: Serving, folder: Path, keys: dict[str, str]) -> Iterator[Honest]:
    made = Honest(serving, folder, key=keys["honest"])
    yield made
    made.close()


def test_honest_traffic_alone_meets_the_bars(serving: Serving, honest: Honest) -> None:
    with unharmed(serving, honest) as outcome:
        assert serving.http.get("/.well-known/ready").status_code == 204
    assert len(outcome.latencies_s) >= 10


def _posts(items: bytes) -> dict[str, bytes]:
    """Return the body of each route whose list has these items."""
    return {
        "/qdrant": b'{"inference":"update","inputs":[%s]}' % items,
        "/embed": b'{"inputs":[%s]}' % items,
        "/v2/embed": b'{"texts":[%s],"input_type":"search_query"}' % items,
        "/v1/embeddings": b'{"model":"","input":[%s]}' % items,
        "/vectors": b'{"text":"a","vector":[%s]}' % items,
    }


VALUES = {
    "numbers": b"1," * 1_000_000 + b"1",
    "empty lists": b"[]," * 600_000 + b"[]",
    "valid inputs": b'{"data":"a","model":""},' * 200_000 + b'{"data":"a","model":""}',
    "one number": b"1" * 4_000_000,
}


@pytest.mark.parametrize("values", VALUES)
def test_endless_lists(serving: Serving, honest: Honest, keys: dict[str, str], values: str) -> None:
    """Row 1: every error of a list was built on the event loop, before the key was looked at."""
    found: list[tuple[str, int, int]] = []
    with unharmed(serving, honest):
        for path, body in _posts(VALUES[values]).items():
            for headers in ({}, {"x-api-key": keys["attacker"]}):
                answer = serving.http.post(path, content=body, headers=headers)
                found.append((path, answer.status_code, len(answer.content)))
    # A body of Qdrant may hold the key itself, so its values are counted first.
    for path, status, size in found[::2]:
        assert status in ({401, 413} if path == "/qdrant" else {401}), found
        assert size < 1000
    for _, status, size in found[1::2]:
        assert status in {400, 413}, found
        assert size < 1000


@pytest.mark.parametrize("stays", [True, False], ids=["waits", "leaves"])
def test_megabytes_of_punctuation(
    serving: Serving, honest: Honest, keys: dict[str, str], stays: bool
) -> None:
    """Rows 2 and 3: whole texts were tokenized, in threads that went on when the client had left."""
    text = "!?#" * (2**20 // 3)
    body = json.dumps({"inputs": [f"{text[:-2]}{n:02}" for n in range(15)], "truncate": True})
    request = serving.post("/embed", body.encode(), x_api_key=keys["attacker"], connection="close")
    answers: list[bytes] = []
    with unharmed(serving, honest):
        for _ in range(1 if stays else 5):
            with serving.connect() as connection:
                connection.sendall(request)
                if stays:
                    answers.append(connection.recv(64))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers), answers


def test_answers_that_nobody_reads(serving: Serving, honest: Honest, keys: dict[str, str]) -> None:
    """Row 7: 20 kB of equal texts became 19 MB of answer, held for each connection."""
    body = json.dumps({"inputs": ["a"] * 4096, "truncate": True}).encode()
    request = serving.post("/embed", body, x_api_key=keys["attacker"])
    with unharmed(serving, honest):
        connections = [serving.connect(receive_bytes=4096) for _ in range(40)]
        for connection in connections:
            connection.sendall(request)
        time.sleep(4)
        for connection in connections:
            connection.close()
    held = serving.http.get("/metrics", headers={"x-api-key": keys["honest"]}).text
    assert "lusifer_in_flight_bytes 0.0" in held


def test_a_busy_engine_is_not_dead(folder: Path) -> None:
    """Row 11: the canary waited in the queue of seventy clients, and all were refused for it."""
    serving = Serving(
        folder,
        make_bundle(folder / "slow", work=4),
        cache="off",
        deadline_s=4,
        canary_interval_s=0.5,
    )
    question = " The train to the airport leaves every twenty minutes." * 60
    numbers = itertools.count()  # equal texts are computed once

    async def attack() -> set[int]:
        end_s = time.monotonic() + 8
        ready: set[int] = set()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=serving.url, limits=limits, timeout=60, trust_env=False
        ) as http:

            async def ask() -> None:
                while time.monotonic() < end_s:
                    text = f"{next(numbers)}{question}"
                    await http.post(
                        "/vectors", json={"text": text, "config": {"task_type": "query"}}
                    )

            clients = [asyncio.create_task(ask()) for _ in range(70)]
            while time.monotonic() < end_s:
                ready.add((await http.get("/.well-known/ready")).status_code)
                await asyncio.sleep(0.1)
            await asyncio.gather(*clients)
        return ready

    try:
        assert asyncio.run(attack()) == {204}
        assert "the engine hangs" not in serving.log_text()
    finally:
        serving.stop()
