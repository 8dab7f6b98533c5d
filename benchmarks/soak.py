"""A soak of the service: requests of mixed sizes over every protocol, with an engine that fails on purpose.

    python benchmarks/soak.py --requests 200000

Every vector of every answer is compared with the right one, every request must be answered, and the
memory of the server is read after a tenth of the requests and at the end. Some clients leave before
their answer. The engine is the fake one, without weights; NaN, short answers, wrong dimensions and
lack of memory come at known calls. Exits with 1 if an answer is wrong or missing, or if memory grew
by more than 5%."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import httpx
import numpy as np
import uvicorn
from benchmarks.report import parser_for, write_table
from integration_tests.ports import free_port, wait_until_ready

from lusifer.bundle.default import default_bundle
from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.service.app import create_app
from lusifer.service.canary import canary_texts
from lusifer.service.logs import configure
from lusifer.service.settings import Settings

FAULTS = Faults(
    # From call 50 on: warm-up is not what is tested.
    nan_on=frozenset(range(50, 10**6, 101)),
    short_answer_on=frozenset(range(50, 10**6, 211)),
    wrong_dimension_on=frozenset(range(50, 10**6, 307)),
    not_unit_on=frozenset(range(50, 10**6, 401)),
    out_of_memory_on=frozenset(range(50, 10**6, 53)),
    out_of_memory_above_rows=60,
)


def vectorizer_with(faults: Faults | None) -> Vectorizer:
    bundle = Bundle.open(default_bundle(), verify=False)
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension, faults=faults))


def serve(port: int) -> None:
    """Run the server with a small cache, so that it evicts, and a small queue, so that it refuses."""
    configure("json", "error")
    settings = Settings(canary=False, cache_bytes=2**20, queue_tokens=20_000, batch_tokens=2048)
    app = create_app(settings, vectorizer=vectorizer_with(FAULTS))
    uvicorn.run(app, port=port, http="httptools", access_log=False, log_config=None)


def pool_of_texts(count: int) -> list[str]:
    """Make different texts of 3 to 60 tokens in twelve languages."""
    sentences = canary_texts()
    draw = random.Random(0)
    return [
        f"{n} {' '.join(draw.sample(sentences, draw.choice([1, 1, 1, 2, 3])))}"[:400]
        for n in range(count)
    ]


class Soak:
    """The load and what came back."""

    def __init__(self, port: int, requests: int, clients: int) -> None:
        self.port = port
        self.requests = requests
        self.clients = clients
        self.texts = pool_of_texts(4000)
        with vectorizer_with(None) as right:
            self.expected = right.embed_documents(self.texts).vectors
        self.outcomes: Counter[str] = Counter()
        self.wrong = 0
        self.sent = 0
        self.vectors = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(seed) for seed in range(self.clients)))

    async def _client(self, seed: int) -> None:
        draw = random.Random(seed)
        reader = writer = None
        while self.sent < self.requests:
            self.sent += 1
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            kind = draw.choices(
                ["weaviate", "tei", "openai", "cohere", "bad", "leave"], [80, 10, 5, 1, 2, 2]
            )[0]
            path, body, asked = self._request(kind, draw)
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            if kind == "leave":
                await asyncio.sleep(draw.random() * 0.02)
                writer.close()
                reader = writer = None
                self.outcomes["left"] += 1
                continue
            status, answer = await asyncio.wait_for(self._answer(reader), 120)
            self._check(kind, status, answer, asked)

    def _request(self, kind: str, draw: random.Random) -> tuple[str, bytes, list[int]]:
        sizes = {"weaviate": 1, "leave": 20, "bad": 1, "cohere": 96}
        count = sizes.get(kind) or draw.randint(2, 12)
        asked = [draw.randrange(len(self.texts)) for _ in range(count)]
        texts = [self.texts[index] for index in asked]
        if kind == "weaviate":
            return "/vectors", json.dumps({"text": texts[0]}).encode(), asked
        if kind == "cohere":
            return (
                "/v2/embed",
                json.dumps({"texts": texts, "input_type": "search_document"}).encode(),
                asked,
            )
        if kind == "openai":
            return "/v1/embeddings", json.dumps({"input": texts, "model": ""}).encode(), asked
        if kind == "bad":
            return (
                "/vectors",
                draw.choice([b"{", b'{"text": 1}', b'{"text": "\\u0000"}', b'{"text": ""}']),
                asked,
            )
        return "/embed", json.dumps({"inputs": texts, "truncate": True}).encode(), asked

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        assert found, head
        return int(head[9:12]), await reader.readexactly(int(found[1]))

    def _check(self, kind: str, status: int, answer: bytes, asked: list[int]) -> None:
        self.outcomes[f"{status}"] += 1
        if kind == "bad":
            self.wrong += status != 400
            return
        if status != 200:
            # Faults the engine can't be cured of, and a full queue, are reported; anything else is not
            # right.
            self.wrong += status not in {429, 500, 503}
            return
        body = json.loads(answer)
        if kind == "weaviate":
            found = [body["vector"]]
        elif kind == "cohere":
            found = body["embeddings"]["float"]
        elif kind == "openai":
            found = [item["embedding"] for item in body["data"]]
        else:
            found = body
        vectors = np.asarray(found, dtype=np.float32)
        self.vectors += len(vectors)
        right = vectors.shape == (len(asked), self.expected.shape[1])
        self.wrong += not (right and np.abs(vectors - self.expected[asked]).max() < 1e-5)


def resident_bytes(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


async def soak(port: int, pid: int, requests: int, clients: int) -> tuple[Soak, list[int], float]:
    load = Soak(port, requests, clients)
    memory: list[int] = []

    async def watch() -> None:
        for tenth in range(1, 10):
            while load.sent < requests * tenth / 10:  # noqa: ASYNC110 - a look now and then is all it needs
                await asyncio.sleep(0.05)
            memory.append(resident_bytes(pid))
            print(
                f"{load.sent:>8} requests, {memory[-1] / 2**20:.0f} MiB, {dict(load.outcomes)}",
                flush=True,
            )

    start = time.monotonic()
    watching = asyncio.create_task(watch())
    await load.run()
    await watching
    memory.append(resident_bytes(pid))
    return load, memory, time.monotonic() - start


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    port = free_port()
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{address}/.well-known/ready", timeout_s=600)
        load, memory, wall_s = asyncio.run(
            soak(port, server.pid, arguments.requests, arguments.clients)
        )
        time.sleep(1)
        queued = httpx.get(f"{address}/status").json()["load"]["queued_tokens"]
    finally:
        server.terminate()
        server.wait(60)
    growth = memory[-1] / memory[0] - 1
    unanswered = load.sent - load.outcomes.total()
    statuses = ", ".join(f"{status} {count:,}" for status, count in sorted(load.outcomes.items()))
    text = (
        f"{load.sent:,} requests in {wall_s:.0f} s ({load.sent / wall_s:,.0f} requests/s), {load.vectors:,} "
        f"vectors compared: **{load.wrong} wrong answers, {unanswered} without an answer**, {queued} tokens "
        f"left in the queue. By status: {statuses}. Memory of the server {memory[0] / 2**20:.0f} MiB after a "
        f"tenth, {memory[-1] / 2**20:.0f} MiB at the end ({growth:+.1%}).\n\n"
        f"{arguments.clients} clients on the same {os.cpu_count()} cores, {date.today()}. "
        "Command: `python benchmarks/soak.py`."
    )
    print(text)
    if arguments.write:
        write_table("soak", text)
    if load.wrong or unanswered or queued or growth > 0.05:
        sys.exit(1)


if __name__ == "__main__":
    main()
