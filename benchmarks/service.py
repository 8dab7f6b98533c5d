"""Throughput and latency of the vectorizer service under load, beside what its engine can do at best.

One run on one machine, load generator included:

    python benchmarks/service.py --write

* ``engine``: the same texts through the engine alone in its best batch, no server.
* ``alone``: a server that embeds each request by itself in a thread pool, as text2vec-transformers'
  does.
* ``single``: our service, many clients that each send one short text (Weaviate's protocol).
* ``bulk``: our service under requests of 96 documents of real length (Cohere's protocol).
* ``query under bulk``: one client with questions while bulk requests saturate the service, against
  a full batch alone.

The engine is measured before and after the service, in the batch that was best, and the mean is
what the service is held against: a machine's speed drifts within minutes. Texts are sentences and
package descriptions; no text is sent twice, so the cache never helps."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import httpx
import numpy as np
from benchmarks.report import parser_for, write_table
from integration_tests.ports import free_port, wait_until_ready

from lusifer.demo.corpus import shipped_documents
from lusifer.embedding.batching import run_batch
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.service.canary import canary_texts

_SERVE = [str(Path(sys.executable).with_name("lusifer")), "serve", "--cache", "off", "--port"]


def short_texts(count: int, seed: int) -> list[str]:
    """Make different short texts in twelve languages from halves of known sentences."""
    random = np.random.default_rng(seed)
    sentences = canary_texts()
    pick = random.integers(0, len(sentences), size=(count, 2))
    texts = []
    for number, (a, b) in enumerate(pick):
        first, second = sentences[a], sentences[b]
        texts.append(f"{first[: len(first) // 2]} {second[len(second) // 2 :]} {seed}{number}")
    return texts


def long_texts(count: int, seed: int) -> list[str]:
    """Make different documents of real length, 50 to 150 tokens: one to three descriptions of packages."""
    random = np.random.default_rng(seed)
    descriptions = [document.text for document in shipped_documents()]
    texts = []
    for number in range(count):
        parts = random.choice(descriptions, size=random.integers(1, 4))
        texts.append(f"{seed}{number}. {' '.join(parts)}")
    return texts


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]


def tokens_of(vectorizer: Vectorizer, texts: list[str], role: str) -> int:
    return sum(rows.tokens for rows in vectorizer.tokenize(texts, role))  # type: ignore[arg-type]


def engine_best(
    vectorizer: Vectorizer,
    texts: list[str],
    role: str,
    seconds: float,
    budgets: tuple[int, ...] = (512, 1024, 2048, 4096),
) -> dict[str, float]:
    """Measure tokens/s in the best of several batch sizes, rows sorted by length so that padding is small."""
    manifest = vectorizer.bundle.manifest
    rows = [w for t in vectorizer.tokenize(texts, role) for w in t.windows]  # type: ignore[arg-type]
    rows.sort(key=len)
    best: dict[str, float] = {"tokens_per_s": 0.0}
    for budget in budgets:
        batches, start = [], 0
        while start < len(rows):
            end = start + 1
            while end < len(rows) and (end + 1 - start) * len(rows[end]) <= budget:
                end += 1
            batches.append(rows[start:end])
            start = end
        run_batch(
            vectorizer.engine,
            batches[len(batches) // 2],
            dimension=manifest.dimension,
            pad_token_id=manifest.pad_token_id,
        )
        done, begin = 0, time.perf_counter()
        for index in range(10**9):
            batch = batches[(index * 7) % len(batches)]
            run_batch(
                vectorizer.engine,
                batch,
                dimension=manifest.dimension,
                pad_token_id=manifest.pad_token_id,
            )
            done += sum(map(len, batch))
            if time.perf_counter() - begin > seconds / len(budgets):
                break
        speed = done / (time.perf_counter() - begin)
        if speed > best["tokens_per_s"]:
            best = {"tokens_per_s": speed, "budget_tokens": budget}
    return best


def full_step(vectorizer: Vectorizer, batch_tokens: int, repeats: int) -> list[float]:
    """Measure the seconds of one full batch of documents, alone on the machine."""
    manifest = vectorizer.bundle.manifest
    rows = [w for t in vectorizer.tokenize(long_texts(200, 5), "document") for w in t.windows]
    length = int(median(map(len, rows)))
    rows = [row[:length] for row in rows if len(row) >= length][: max(1, batch_tokens // length)]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run_batch(
            vectorizer.engine,
            rows,
            dimension=manifest.dimension,
            pad_token_id=manifest.pad_token_id,
        )
        times.append(time.perf_counter() - start)
    return times


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """Run a server in a process of its own; yield its address when it is ready."""
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, str(port)], stderr=log, stdout=log)
        try:

            def check_alive() -> None:
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(log.read())

            ready = f"http://127.0.0.1:{port}/.well-known/ready"
            wait_until_ready(ready, timeout_s=600, check_alive=check_alive)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def serve_alone(port: int) -> None:
    """Run the baseline: same protocol, same web server, each request embedded by itself in a thread pool."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    vectorizer = Vectorizer.load()
    pool = ThreadPoolExecutor(os.cpu_count())

    async def vectors(request: Request) -> JSONResponse:
        text = (await request.json())["text"]
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(pool, vectorizer.embed_documents, [text])
        return JSONResponse(
            {"text": text, "vector": answer.vectors[0].tolist(), "dim": vectorizer.dimension}
        )

    async def ready(_: Request) -> Response:
        return Response(status_code=204)

    app = Starlette(
        routes=[Route("/vectors", vectors, methods=["POST"]), Route("/.well-known/ready", ready)]
    )
    uvicorn.run(app, port=port, log_level="error", http="httptools")


class Connection:
    """A keep-alive connection that sends what Weaviate's client sends.

    Not httpx: at 2 ms of processor time for a request the generator would be much of what is
    measured."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.removeprefix("http://").partition(":")
        self.port = int(port)

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)

    async def vectors(self, text: str, role: str = "passage") -> None:
        body = json.dumps({"text": text, "config": {"task_type": role}}).encode()
        head = f"POST /vectors HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", answer)
        if not answer.startswith(b"HTTP/1.1 200") or found is None:
            raise RuntimeError(answer.decode())
        await self.reader.readexactly(int(found[1]))


async def single_clients(
    address: str, texts: list[str], clients: int, seconds: float
) -> dict[str, object]:
    """Run a closed loop: each client sends its next text when it has the last vector."""
    queue = iter(texts)
    latencies: list[float] = []
    done: list[str] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(address)
        await connection.open()
        for text in queue:
            start = time.perf_counter()
            await connection.vectors(text)
            latencies.append(time.perf_counter() - start)
            done.append(text)
            if time.perf_counter() > end:
                break
        connection.writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return {"texts": done, "wall_s": time.perf_counter() - start, "latencies": latencies}


async def bulk_clients(
    address: str, texts: list[str], clients: int, seconds: float
) -> dict[str, object]:
    queue = iter([texts[i : i + 96] for i in range(0, len(texts), 96)])
    done: list[str] = []
    async with httpx.AsyncClient(base_url=address, timeout=600) as http:
        end = time.perf_counter() + seconds

        async def client() -> None:
            for part in queue:
                body = {
                    "texts": part,
                    "input_type": "search_document",
                    "embedding_types": ["float"],
                }
                answer = await http.post("/v2/embed", json=body)
                answer.raise_for_status()
                done.extend(part)
                if time.perf_counter() > end:
                    return

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        wall = time.perf_counter() - start
    return {"texts": done, "wall_s": wall}


async def queries_under_bulk(
    address: str, questions: list[str], documents: list[str], seconds: float
) -> list[float]:
    bulk = asyncio.create_task(bulk_clients(address, documents, 3, seconds))
    await asyncio.sleep(3)
    latencies = []
    connection = Connection(address)
    await connection.open()
    for text in questions:
        start = time.perf_counter()
        await connection.vectors(text, "query")
        latencies.append(time.perf_counter() - start)
        if bulk.done():
            break
        await asyncio.sleep(0.05)
    connection.writer.close()
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    return latencies


def engine_seconds(address: str) -> tuple[float, float]:
    """Return seconds in the engine and tokens computed since the start of the service."""
    text = httpx.get(f"{address}/metrics").text
    seconds = re.search(r'stage_duration_seconds_sum\{stage="engine"\} (\S+)', text)
    tokens = re.search(r'engine_tokens_total\{kind="text"\} (\S+)', text)
    return float(seconds[1]) if seconds else 0.0, float(tokens[1]) if tokens else 0.0


def measure(seconds: float, clients: int) -> dict[str, object]:
    result: dict[str, object] = {"clients": clients, "seconds": seconds}
    short, long = short_texts(50_000, 1), long_texts(20_000, 2)
    with Vectorizer.load() as vectorizer:
        vectorizer.embed_documents(short_texts(64, 99))
        result["model"] = vectorizer.bundle.manifest.name, vectorizer.bundle.manifest.precision
        result["engine short"] = engine_best(vectorizer, short[:2000], "document", seconds)
        result["engine long"] = engine_best(vectorizer, long[:1000], "document", seconds)
        steps = full_step(vectorizer, 1024, 12)[2:]
        result["full batch p95_s"] = percentile(steps, 0.95)
    # Only its tokenizer is used from here on.
    tokenizer = vectorizer
    with serving([sys.executable, __file__, "--serve-alone"]) as address:
        asyncio.run(single_clients(address, short_texts(200, 7), clients, 2))
        run = asyncio.run(single_clients(address, short, clients, seconds))
        tokens = tokens_of(tokenizer, run["texts"], "document")
        result["alone"] = {
            "tokens_per_s": tokens / run["wall_s"],
            "requests_per_s": len(run["texts"]) / run["wall_s"],
            "p95_s": percentile(run["latencies"], 0.95),
        }
    with serving(_SERVE) as address:
        asyncio.run(single_clients(address, short_texts(400, 7), clients, 3))
        busy = engine_seconds(address)[0]
        run = asyncio.run(single_clients(address, short[10_000:], clients, seconds))
        busy = engine_seconds(address)[0] - busy
        tokens = tokens_of(tokenizer, run["texts"], "document")
        result["single"] = {
            "tokens_per_s": tokens / run["wall_s"],
            "requests_per_s": len(run["texts"]) / run["wall_s"],
            "p95_s": percentile(run["latencies"], 0.95),
            "engine_busy": busy / run["wall_s"],
        }
        busy = engine_seconds(address)[0]
        run = asyncio.run(bulk_clients(address, long, 2, seconds))
        busy = engine_seconds(address)[0] - busy
        tokens = tokens_of(tokenizer, run["texts"], "document")
        result["bulk"] = {
            "tokens_per_s": tokens / run["wall_s"],
            "engine_busy": busy / run["wall_s"],
        }
        latencies = asyncio.run(queries_under_bulk(address, short[:400], long[5000:], seconds))
        result["query under bulk"] = {
            "queries": len(latencies),
            "p50_s": percentile(latencies, 0.5),
            "p95_s": percentile(latencies, 0.95),
        }
    with Vectorizer.load() as vectorizer:
        vectorizer.embed_documents(short_texts(64, 98))
        for name, texts in (("engine short", short[:2000]), ("engine long", long[:1000])):
            before = result[name]
            budget = int(before["budget_tokens"])
            after = engine_best(vectorizer, texts, "document", seconds / 2, (budget,))[
                "tokens_per_s"
            ]
            result[name] = {
                "budget_tokens": budget,
                "before": before["tokens_per_s"],
                "after": after,
                "tokens_per_s": (before["tokens_per_s"] + after) / 2,
            }
    return result


def table(result: dict) -> str:  # type: ignore[type-arg]
    short, long = result["engine short"]["tokens_per_s"], result["engine long"]["tokens_per_s"]
    alone, single, bulk = result["alone"], result["single"], result["bulk"]
    query, step = result["query under bulk"], result["full batch p95_s"]
    of_short, of_alone = (
        single["tokens_per_s"] / short,
        single["tokens_per_s"] / alone["tokens_per_s"],
    )
    clients = result["clients"]
    rows = [
        ("engine alone, short texts", before_and_after(result["engine short"]), "100%"),
        (
            f"each request alone, {clients} clients",
            f"{alone['tokens_per_s']:,.0f} tokens/s, p95 {1000 * alone['p95_s']:,.0f} ms",
            f"{alone['tokens_per_s'] / short:.0%}",
        ),
        (
            f"**service, {clients} clients of single short texts**",
            f"{single['tokens_per_s']:,.0f} tokens/s, p95 {1000 * single['p95_s']:,.0f} ms",
            f"{of_short:.0%}, {of_alone:.1f} times the row above; engine busy {single['engine_busy']:.0%}",
        ),
        ("engine alone, documents", before_and_after(result["engine long"]), "100%"),
        (
            "**service, requests of 96 documents**",
            f"{bulk['tokens_per_s']:,.0f} tokens/s",
            f"{bulk['tokens_per_s'] / long:.0%}; engine busy {bulk['engine_busy']:.0%}",
        ),
        ("a full batch of documents, idle machine", f"p95 {1000 * step:,.0f} ms", ""),
        (
            "**question while bulk saturates the service**",
            f"p50 {1000 * query['p50_s']:,.0f} ms, p95 {1000 * query['p95_s']:,.0f} ms",
            f"{query['p95_s'] / step:.2f} times a full batch",
        ),
    ]
    lines = ["| what | measured | of the engine's best |", "|---|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    name, precision = result["model"]
    lines += [
        "",
        f"{name} ({precision}), {os.cpu_count()} cores with the load generator on them, "
        f"{result['seconds']:.0f} s each, {date.today()}. Command: `python benchmarks/service.py`.",
    ]
    return "\n".join(lines)


def before_and_after(engine: dict[str, float]) -> str:
    mean, before, after = engine["tokens_per_s"], engine["before"], engine["after"]
    return f"{mean:,.0f} tokens/s ({before:,.0f} before, {after:,.0f} after)"


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="length of each measurement")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve-alone", type=int, metavar="PORT", help="be the baseline server")
    arguments = parser.parse_args()
    if arguments.serve_alone:
        serve_alone(arguments.serve_alone)
        return
    result = measure(arguments.seconds, arguments.clients)
    text = table(result)
    print(json.dumps(result, indent=2) if arguments.json else text)
    if arguments.write:
        write_table("service", text)


if __name__ == "__main__":
    main()
