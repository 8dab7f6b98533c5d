"""Re-embedding the embedded store with a fake engine: what it costs beside the model, and its memory.

    python benchmarks/reindex.py --write

100,000 documents of 12 words each are stored with one fake model and re-embedded with another, all
passes to the end. The engine is the fake one, so that what is left is reading, comparing, guarding,
writing and checkpoints. The default engine's own rate is measured on a sample of the same
documents, in a process of its own."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from benchmarks.report import engine_rate, parser_for, write_table

from lusifer.embedded.collections import EmbeddedCollections
from lusifer.engines.fake import FakeEngine
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.job import Job, State
from lusifer.reindex.plan import Estimate, Location, Model, Plan
from lusifer.reindex.runner import PassOptions, report_of, run
from lusifer.types import Document, Embedding, Embeddings

DIMENSION, WINDOW = 384, 256
WORDS = [
    *("archive", "search", "index", "kernel", "driver", "photo", "music"),
    *("mail", "network", "library", "font", "game", "chess", "editor"),
]


class FakeModel:
    """The fake engine over words instead of tokens."""

    role_prompts = {"query": "", "document": ""}  # noqa: RUF012

    def __init__(self, seed: int) -> None:
        self.engine = FakeEngine(DIMENSION, seed=seed)
        self.dimension = DIMENSION
        self.model_name = f"fake-{seed}"
        self.fingerprint = f"sha256:{seed:064x}"

    def stream(self, texts: Iterable[str], role: str, *, window: int = 512) -> Iterator[Embedding]:
        return iter(self.embed_documents(list(texts)))

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        rows = [[zlib.crc32(word.encode()) % 5000 + 1 for word in text.split()] for text in texts]
        if not rows:
            return Embeddings(np.zeros((0, DIMENSION), np.float32), (), ())
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        for row, target in zip(rows, ids, strict=True):
            target[: len(row)] = row
        vectors = self.engine.run(ids, (ids > 0).astype(np.int64))
        return Embeddings(vectors, tuple(map(len, rows)), (False,) * len(rows))

    embed_queries = embed_documents

    def embed_query(self, text: str) -> Embedding:
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Do nothing: nothing is held."""


def documents(count: int) -> Iterator[Document]:
    """Return the same vectors every time."""
    chooser = random.Random(0)
    for n in range(count):
        text = " ".join([*chooser.choices(WORDS, k=11), str(n)])
        yield Document(f"d{n}", text, {"lang": ("en", "de", "ja")[n % 3], "n": n})


def fill(folder: Path, count: int, model: FakeModel) -> None:
    """Make the old collection, behind an alias."""
    collections = EmbeddedCollections(folder)
    with collections.create(
        "old", fingerprint=model.fingerprint, dimension=DIMENSION, model=model.model_name
    ) as store:
        page: list[Document] = []
        for document in documents(count):
            page.append(document)
            if len(page) == 2048:
                store.upsert(page, model.embed_documents([each.text for each in page]).vectors)
                page = []
        if page:
            store.upsert(page, model.embed_documents([each.text for each in page]).vectors)
    collections.set_alias("live", "old")


def resident_mib() -> float:
    """Return the memory of this process that no file backs; mapped files are the system's to drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def plan_for(folder: Path, count: int, old: FakeModel, new: FakeModel) -> Plan:
    """Return the plan that ``lusifer reindex plan`` would write."""
    place = Location(kind="embedded", address=str(folder), collection="old")
    estimate = Estimate(
        documents=count, sampled=0, languages={}, tokens=0, tokens_per_s=0, seconds=0, index_bytes=0
    )
    models = [
        Model(name=each.model_name, fingerprint=each.fingerprint, dimension=DIMENSION)
        for each in (new, old)
    ]
    return Plan(
        id="benchmark",
        created=date.today().isoformat(),
        lusifer="benchmark",
        source=place,
        target=place.model_copy(update={"collection": "new"}),
        in_place=False,
        alias="live",
        shown_before="old",
        model=models[0],
        old_model=models[1],
        window=WINDOW,
        estimate=estimate,
    )


def measure(count: int, sample: int) -> dict[str, Any]:
    """Fill, re-embed, and read the memory after every window."""
    with tempfile.TemporaryDirectory() as name:
        folder, old, new = Path(name), FakeModel(1), FakeModel(2)
        fill(folder / "database", count, old)
        job = Job.create(folder / "job", plan_for(folder / "database", count, old, new))
        memory: list[float] = []
        migration = open_migration(job.plan, exclusive=True)
        started_s = time.perf_counter()
        with job.locked():
            options = PassOptions(on_progress=lambda state: memory.append(resident_mib()))
            state: State = run(job, migration, new, options)
        took_s = time.perf_counter() - started_s
        migration.close()
        report = report_of(job, state)
    per_s, tokens_per_s = engine_rate([document.text for document in documents(sample)])
    engine_s = report["totals"]["engine_seconds"]
    third = len(memory) // 3
    return {
        "documents": count,
        "phase": report["phase"],
        "passes": len(report["passes"]),
        "took_s": round(took_s, 1),
        "fake_engine_s": round(engine_s, 1),
        "outside_engine_s": round(took_s - engine_s, 1),
        "ms_per_document": round(1000 * (took_s - engine_s) / count, 3),
        "default_engine_documents_per_s": round(per_s, 1),
        "default_engine_tokens_per_s": round(tokens_per_s),
        "default_engine_s": round(count / per_s),
        "overhead": round((took_s - engine_s) / (count / per_s), 4),
        "memory_mib_after_a_third": round(max(memory[:third]), 1),
        "memory_mib_at_most": round(max(memory), 1),
        "windows": len(memory),
    }


def table(result: dict[str, Any]) -> str:
    """Format the rows of the page of results."""
    return "\n".join(
        [
            "| measure | value |",
            "|---|---|",
            f"| documents, dimension, window | {result['documents']:,}, {DIMENSION}, {WINDOW} |",
            f"| passes until one found nothing | {result['passes']} |",
            f"| outside the engine, all passes | {result['outside_engine_s']:,} s, "
            f"{result['ms_per_document']} ms a document |",
            f"| default engine for the same documents | {result['default_engine_s']:,} s at "
            f"{result['default_engine_documents_per_s']} documents/s "
            f"({result['default_engine_tokens_per_s']:,} tokens/s) |",
            f"| **overhead** | **{100 * result['overhead']:.1f}%** (demanded: below 10%) |",
            f"| memory of the process, after a third of the windows and at most | "
            f"{result['memory_mib_after_a_third']:.0f} MiB, {result['memory_mib_at_most']:.0f} MiB |",
        ]
    )


def main() -> int:
    """Measure, print, and with ``--write`` put the table into the page of results."""
    parser = parser_for(__doc__)
    options = parser.parse_args()
    result = measure(options.documents, options.sample)
    print(json.dumps(result, indent=2))
    if options.write:
        note = f"{os.cpu_count()} cores, {date.today().isoformat()}: `python benchmarks/reindex.py --write`"
        write_table("reindex", f"{table(result)}\n\n{note}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
