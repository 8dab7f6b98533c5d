"""Honest clients in a process of their own: requests at a fixed rate, each answer checked.

``python honest_traffic.py URL KEY FILE`` reads a line ``begin`` and sends requests until it reads
``end``. It then waits for every answer and writes one JSON line. A request is sent when its time has
come, whether or not earlier ones are answered: a service that stops for ten seconds delays two
hundred requests, as it would in production.

FILE holds JSON: texts, and their vectors in both roles.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_PER_S = 20
TIMEOUT_S = 60.0
NOISE = 1e-4
"""Maximum difference of two numbers of one vector."""


def _requests(
    texts: list[str], number: int
) -> tuple[str, str, list[str], dict[str, Any], Callable[[Any], Any]]:
    """Return role, path, texts, body and reader of the answer of one request."""
    some = [texts[(number + step) % len(texts)] for step in range(3)]
    kinds = (
        (
            "query",
            "/vectors",
            some[:1],
            {"text": some[0], "config": {"task_type": "query"}},
            lambda answer: [answer["vector"]],
        ),
        (
            "document",
            "/embed",
            some,
            {"inputs": some, "truncate": True},
            lambda answer: answer,
        ),
        (
            "query",
            "/qdrant",
            some[:1],
            {
                "inputs": [{"data": some[0], "data_type": "text", "model": ""}],
                "inference": "search",
            },
            lambda answer: answer["embeddings"],
        ),
        (
            "document",
            "/v1/embeddings",
            some,
            {"input": some, "model": "", "encoding_format": "base64"},
            lambda answer: [
                np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in answer["data"]
            ],
        ),
    )
    return kinds[number % len(kinds)]


class Clients:
    """Sends requests and remembers what became of them."""

    def __init__(self, http: httpx.AsyncClient, known: dict[str, Any]) -> None:
        self._http = http
        self._texts: list[str] = known["texts"]
        self._expected = {
            (role, text): np.asarray(vector, dtype=np.float32)
            for role in ("query", "document")
            for text, vector in zip(self._texts, known[role], strict=True)
        }
        self._numbers = count()
        self._reset()

    def _reset(self) -> None:
        self._latencies_s: list[float] = []
        self._late_s: list[float] = []
        self._wrong = 0
        self._unanswered: list[str] = []

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """Send until ``stop`` is set; return the figures when all answers have come."""
        self._reset()
        sent: set[asyncio.Task[None]] = set()
        next_s = time.monotonic()
        while not stop.is_set():
            sent.add(asyncio.create_task(self._one()))
            next_s += 1 / RATE_PER_S
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            self._late_s.append(time.monotonic() - next_s)
        await asyncio.gather(*sent)
        return {
            "latencies_s": self._latencies_s,
            "late_s": self._late_s,
            "wrong": self._wrong,
            "unanswered": self._unanswered[:20],
        }

    async def _one(self) -> None:
        role, path, texts, body, read = _requests(self._texts, next(self._numbers))
        start_s = time.monotonic()
        try:
            answer = await self._http.post(path, json=body)
            if answer.status_code == 200:
                found = np.asarray(read(answer.json()), dtype=np.float32)
                expected = np.stack([self._expected[role, text] for text in texts])
                if found.shape != expected.shape or np.abs(found - expected).max() > NOISE:
                    self._wrong += 1
            else:
                self._unanswered.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        except httpx.HTTPError as error:
            self._unanswered.append(f"{path}: {type(error).__name__} {error}")
        self._latencies_s.append(time.monotonic() - start_s)


async def _main(url: str, key: str, known: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=TIMEOUT_S, limits=limits, trust_env=False
    ) as http:
        clients = Clients(http, known)
        while await loop.run_in_executor(None, sys.stdin.readline):
            stop = asyncio.Event()
            running = asyncio.create_task(clients.run(stop))
            await loop.run_in_executor(None, sys.stdin.readline)
            stop.set()
            sys.stdout.write(json.dumps(await running) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:3], json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))))
