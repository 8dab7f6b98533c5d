"""Ingest into a real Weaviate by its three routes, side by side, beside the engine alone.

    python -m benchmarks.weaviate_ingest --write

* ``transformers``: Weaviate asks our service with one text at a time (``batch.fixed_size(96, 2)``,
  and ``batch.stream()``, which the server cuts into many parallel parts).
* ``cohere``: Weaviate asks with 96 texts at a time.
* Both again with an engine that computes nothing, which shows what the protocols cost by
  themselves.
* ``precomputed``: ``lusifer index`` makes the vectors and sends them along.

The documents are names and short descriptions of Debian's packages; the service's cache is off. The
server is the one of the integration tests (``make weaviate``). Beside each rate stand the seconds
of a processor that Weaviate, the service and this client took, and how many texts the engine got in
a batch: they say where the time went."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import httpx
from benchmarks.report import parser_for, write_table
from integration_tests.ports import free_port, wait_until_ready
from integration_tests.weaviate_server import RunningWeaviate, find_or_build

from lusifer.demo.debian import download_lists, read_packages
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.ingest.indexer import index_documents
from lusifer.types import Document
from lusifer.weaviate.metadata import metadata_for
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import create_collection
from lusifer.weaviate.store import WeaviateStore

SLOW, FAST = "transformers, fixed_size(96, 2)", "cohere, fixed_size(96, 2)"
WITHOUT = "without the engine's work: "


@dataclass
class Measured:
    """One route."""

    rate: float
    """Documents per second."""
    cpu_s: dict[str, float]
    """Seconds of processor time that each process may take."""
    rows: float | None
    """Texts in a batch of the service's engine, on average."""


STUB = """
import sys, uvicorn
from lusifer.bundle.format import Bundle
from lusifer.bundle.default import default_bundle
from lusifer.engines.fake import FakeEngine
from lusifer.service.app import create_app
from lusifer.service.settings import Settings
from lusifer.embedding.vectorizer import Vectorizer

bundle = Bundle.open(default_bundle())
app = create_app(
    Settings(cache="off", canary=False), vectorizer=Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))
)
uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False)
"""


@contextmanager
def serving(*, stub: bool = False) -> Iterator[tuple[str, int]]:
    """Run ``lusifer serve`` on a free port, or the same with an engine that computes nothing."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("lusifer")),
        "serve",
        "--cache",
        "off",
        "--port",
        str(port),
    ]
    if stub:
        command = [sys.executable, "-c", STUB, str(port)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:

            def check_alive() -> None:
                assert process.poll() is None, "lusifer serve ended"

            ready = f"{address}/.well-known/ready"
            wait_until_ready(ready, timeout_s=600, check_alive=check_alive)
            yield address, process.pid
        finally:
            process.terminate()


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def batches(address: str) -> tuple[float, float]:
    """Return the texts and batches of a service's engine so far."""
    text = httpx.get(f"{address}/metrics", trust_env=False).text
    sums = [
        sum(
            map(
                float,
                re.findall(rf"^lusifer_batch_rows_{part}(?:{{.*}})? (\S+)$", text, re.MULTILINE),
            )
        )
        for part in ("sum", "count")
    ]
    return sums[0], sums[1]


def measure(texts: Sequence[str]) -> dict[str, Measured]:
    """Measure every route, and the engine alone before and after the precomputed one."""
    measured: dict[str, Measured] = {}

    def timed(
        name: str, work: Callable[[], object], pids: dict[str, int], address: str | None = None
    ) -> None:
        before = {process: cpu_s(pid) for process, pid in pids.items()}
        rows, calls = batches(address) if address else (0.0, 0.0)
        started_s = time.perf_counter()
        work()
        took_s = time.perf_counter() - started_s
        more_rows, more_calls = batches(address) if address else (0.0, 0.0)
        spent = {process: cpu_s(pid) - before[process] for process, pid in pids.items()}
        mean = (more_rows - rows) / (more_calls - calls) if address else None
        measured[name] = Measured(len(texts) / took_s, spent, mean)
        print(f"{name}: {measured[name]}", flush=True)

    documents = [Document(f"d{n}", text) for n, text in enumerate(texts)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = RunningWeaviate(find_or_build(print), Path(folder), "http://127.0.0.1:9").start()
        stack.callback(server.stop)
        client = stack.enter_context(server.client())
        here = {"Weaviate": server.pid, "client": os.getpid()}
        with Vectorizer.load() as vectorizer:
            card = metadata_for("Precomputed", vectorizer)
            warm = documents[:64]
            create_collection(client, card, service_url="http://127.0.0.1:9")
            store = WeaviateStore.open(
                client, "Precomputed", fingerprint=card.fingerprint, model=card.model
            )
            index_documents(warm, vectorizer, store)

            def engine() -> None:
                list(vectorizer.stream(texts, "document", window=256))

            # Other texts than the warm-up's, so that every document is really written.
            fresh = [Document(f"f{n}", text) for n, text in enumerate(texts)]
            timed("engine", engine, {"client": os.getpid()})
            timed("precomputed", lambda: index_documents(fresh, vectorizer, store), here)
            timed("engine again", engine, {"client": os.getpid()})
            assert store.count() == len(documents) + len(warm)
            assert store.count_without_vector() == 0
        for stub in (False, True):
            with serving(stub=stub) as (address, pid):
                for name, route, how in (
                    (SLOW, "transformers", lambda batch: batch.fixed_size(96, 2)),
                    ("transformers, stream()", "transformers", lambda batch: batch.stream()),
                    (FAST, "cohere", lambda batch: batch.fixed_size(96, 2)),
                ):
                    collection = f"Route{len(measured)}"
                    named = card.model_copy(update={"collection": collection})
                    create_collection(client, named, service_url=address, route=route)  # type: ignore[arg-type]
                    handle = client.collections.get(collection)

                    def fill(handle: Any = handle, how: Any = how) -> None:
                        with how(handle.batch) as batch:
                            for each in documents:
                                batch.add_object(
                                    {"text": each.text, "document_id": each.id},
                                    uuid=object_id(each.id),
                                )

                    timed(
                        f"{WITHOUT if stub else ''}{name}", fill, {**here, "service": pid}, address
                    )
                    found = handle.aggregate.over_all(total_count=True).total_count
                    assert found == len(documents), f"{name}: {found} of {len(documents)}"
    return measured


def table(measured: dict[str, Measured], count: int) -> str:
    before, after = measured["engine"].rate, measured["engine again"].rate
    best = (before + after) / 2
    lines = [
        "| route | documents/s | of the engine's rate | processor seconds of Weaviate, service, client "
        "| texts in a batch |",
        "|---|---:|---:|---:|---:|",
        f"| engine alone, before and after | {before:.1f} and {after:.1f} | 100% | "
        f"–, –, {measured['engine'].cpu_s['client']:.1f} | |",
    ]
    for name, each in measured.items():
        if name.startswith("engine"):
            continue
        share = "" if name.startswith(WITHOUT) else f"{each.rate / best:.0%}"
        shown = f"**{name}**" if name == "precomputed" else name
        spent = ", ".join(
            f"{each.cpu_s[process]:.1f}" if process in each.cpu_s else "–"
            for process in ("Weaviate", "service", "client")
        )
        rows = f"{each.rows:.1f}" if each.rows else ""
        lines.append(f"| {shown} | {each.rate:.1f} | {share} | {spent} | {rows} |")
    times, without = (
        measured[f"{before}{FAST}"].rate / measured[f"{before}{SLOW}"].rate
        for before in ("", WITHOUT)
    )
    lines += [
        "",
        f"{count:,} documents; cohere is {times:.1f} times as fast as transformers, {without:.1f} times "
        f"where the engine computes nothing. {os.cpu_count()} cores "
        f"for engine, Weaviate and client together, {date.today()}. Command: "
        "`python -m benchmarks.weaviate_ingest`.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--documents", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = read_packages(download_lists(Path(folder)))
    chosen = random.Random(0).sample(packages, arguments.documents)
    texts = [f"{package.package}: {package.short}" for package in chosen]
    text = table(measure(texts), len(texts))
    print(text)
    if arguments.write:
        write_table("weaviate", text)


if __name__ == "__main__":
    main()
