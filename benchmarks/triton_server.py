"""A real Triton server beside the raw engine, on the same cores: single texts, batches, latency.

::

    python benchmarks/triton_server.py             # a table on standard output
    python benchmarks/triton_server.py --write     # and into docs/results.md

The clients, the server and the engine share the machine's cores, so whatever the protocol costs is
taken from the computation. Texts are real, of about 64 tokens. Run it alone."""

from __future__ import annotations

import datetime
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from benchmarks.report import parser_for, write_table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("plugin", "training", "export"))]

from benchmarks.embed_documents import Workload, workload_texts
from integration_tests.triton_server import TritonServer

from lusifer.bundle.default import default_bundle
from lusifer.bundle.format import Bundle
from lusifer.embedding.tokenization import TextTokenizer
from lusifer.engines.onnx import OnnxEngine
from lusifer.engines.triton import TritonEngine
from lusifer_export.triton.repository import write_repository

TOKENS, CLIENTS, BATCH = 64, 64, 32


def rows(bundle: Bundle, texts: list[str]) -> list[np.ndarray]:
    """Return the ids of each text, all cut or padded to the same bucket by being about its length."""
    outcomes = TextTokenizer(bundle).rows(texts, "document", "truncate")
    return [outcome.windows[0][:TOKENS].astype(np.int64) for outcome in outcomes]


def padded(chosen: list[np.ndarray], pad: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.full((len(chosen), TOKENS), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(chosen):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return ids, mask


def batches_per_second(
    engine: Any, batches: list[Any], seconds: float
) -> tuple[float, list[float]]:
    """Measure real tokens per second of one caller, and the seconds of each call."""
    engine.run(*batches[0])
    tokens, taken = 0, []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for ids, mask in batches:
            before = time.perf_counter()
            engine.run(ids, mask)
            taken.append(time.perf_counter() - before)
            tokens += int(mask.sum())
            if time.perf_counter() - started >= seconds:
                break
    return tokens / (time.perf_counter() - started), taken


def clients_per_second(
    url: str, fingerprint: str, singles: list[Any], seconds: float
) -> tuple[float, list[float]]:
    """Measure real tokens per second of many callers of one text each, and the seconds of each call."""
    engines = [TritonEngine(url, fingerprint=fingerprint) for _ in range(CLIENTS)]
    tokens, taken = [0] * CLIENTS, [list[float]() for _ in range(CLIENTS)]
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        turn = number
        while time.perf_counter() < end:
            ids, mask = singles[turn % len(singles)]
            before = time.perf_counter()
            engines[number].run(ids, mask)
            taken[number].append(time.perf_counter() - before)
            tokens[number] += int(mask.sum())
            turn += CLIENTS

    started = time.perf_counter()
    threads = [threading.Thread(target=ask, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(tokens) / (time.perf_counter() - started)
    for engine in engines:
        engine.close()
    return rate, [each for one in taken for each in one]


def measure(seconds: float) -> str:
    bundle = Bundle.open(default_bundle(), verify=False)
    texts = workload_texts(bundle.tokenizer_path, Workload(128, TOKENS))
    ids = rows(bundle, texts)
    pad = bundle.manifest.pad_token_id
    batches = [padded(ids[at : at + BATCH], pad) for at in range(0, len(ids), BATCH)]
    singles = [padded([row], pad) for row in ids]
    raw = OnnxEngine(bundle.model_path)
    raw_before, _ = batches_per_second(raw, batches, seconds)
    expected = raw.run(*batches[0])
    with tempfile.TemporaryDirectory(prefix="lusifer-triton-") as folder:
        root = Path(folder)
        write_repository(bundle, root / "repository")
        server = TritonServer(root / "repository", root).start()
        try:
            fingerprint = bundle.manifest.fingerprint
            engine = TritonEngine(server.grpc, fingerprint=fingerprint)
            found = engine.run(*batches[0])
            batch_rate, batch_taken = batches_per_second(engine, batches, seconds)
            engine.close()
            single_rate, single_taken = clients_per_second(
                server.grpc, fingerprint, singles, seconds
            )
        finally:
            server.stop()
    raw_after, _ = batches_per_second(raw, batches, seconds)
    best = max(raw_before, raw_after)
    difference = float(np.abs(found - expected).max())
    lines = [
        "| what | tokens/s | of the raw engine | p50 | p99 |",
        "|---|---:|---:|---:|---:|",
        f"| raw engine, batches of {BATCH}, before, after | {raw_before:,.0f}, {raw_after:,.0f} | 100% | | |",
        line(f"**Triton, batches of {BATCH}**, one client", batch_rate, best, batch_taken),
        line(f"**Triton, {CLIENTS} clients of single texts**", single_rate, best, single_taken),
        "",
        f"Largest difference of any number of a vector to the raw engine's: {difference:.1e}. "
        f"{bundle.manifest.name} ({bundle.manifest.precision}), texts of about {TOKENS} tokens, "
        f"{os.cpu_count()} cores with clients and server on them, {seconds:g} s each, "
        f"{datetime.datetime.now(tz=datetime.UTC).date()}. Command: `python benchmarks/triton_server.py`.",
    ]
    return "\n".join(lines)


def line(what: str, rate: float, best: float, taken: list[float]) -> str:
    p50, p99 = statistics.median(taken) * 1000, float(np.percentile(taken, 99)) * 1000
    return f"| {what} | {rate:,.0f} | {rate / best:.0%} | {p50:,.0f} ms | {p99:,.0f} ms |"


def main() -> None:
    """Measure, print, and write if asked."""
    parser = parser_for(__doc__)
    options = parser.parse_args()
    table = measure(options.seconds)
    print(table)
    if options.write:
        write_table("triton", table)


if __name__ == "__main__":
    main()
