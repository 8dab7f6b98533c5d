"""Ingest into a real Weaviate by its three routes, side by side, beside the engine alone.

    python benchmarks/weaviate.py --write

* ``transformers``: Weaviate asks our service with one text at a time (``batch.fixed_size(96, 2)``, and
  ``batch.stream()``, which the server cuts into many parallel parts).
* ``cohere``: Weaviate asks with 96 texts at a time.
* ``precomputed``: ``lusifer index`` makes the vectors and sends them along.

The documents are names and short descriptions of Debian's packages; the service's cache is off. The server is
the one of the integration tests (``make weaviate``).
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from integration_tests.weaviate_server import RunningWeaviate, find_or_build, free_port

from lusifer.demo.debian import download_lists, read_packages
from lusifer.indexing import index_documents
from lusifer.store import Document
from lusifer.vectorizer import Vectorizer
from lusifer.weaviate.schema import card_of, create_collection
from lusifer.weaviate.store import WeaviateStore, object_id

RESULTS = Path(__file__).parents[1] / "docs" / "results.md"
BEGIN, END = "<!-- weaviate: start -->", "<!-- weaviate: end -->"


@contextmanager
def serving() -> Any:
    """``lusifer serve`` on a port of its own; the address."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("lusifer")), "serve", "--cache", "off", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    if httpx.get(f"{address}/.well-known/ready", trust_env=False).status_code == 204:
                        break
                except httpx.TransportError:
                    assert process.poll() is None, "lusifer serve ended"
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def measure(texts: Sequence[str]) -> dict[str, float]:
    """Documents per second of each route."""
    rates: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started_s = time.perf_counter()
        work()
        rates[name] = len(texts) / (time.perf_counter() - started_s)
        print(f"{name}: {rates[name]:.1f} documents/s", flush=True)

    documents = [Document(f"d{n}", text) for n, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        server = RunningWeaviate(find_or_build(print), Path(folder), "http://127.0.0.1:9").start()
        client = server.client()
        try:
            with Vectorizer.load() as vectorizer:
                card = card_of(vectorizer)
                list(vectorizer.stream(texts[:128], "document", window=64))
                timed("engine", lambda: list(vectorizer.stream(texts, "document", window=256)))
                create_collection(client, "Precomputed", card, service_url="http://127.0.0.1:9")
                store = WeaviateStore.open(
                    client, "Precomputed", fingerprint=card.fingerprint, model=card.model
                )
                timed("precomputed", lambda: index_documents(documents, vectorizer, store))
                timed("engine again", lambda: list(vectorizer.stream(texts, "document", window=256)))
            with serving() as address:
                for name, route, how in (
                    (
                        "transformers, fixed_size(96, 2)",
                        "transformers",
                        lambda batch: batch.fixed_size(96, 2),
                    ),
                    ("transformers, stream()", "transformers", lambda batch: batch.stream()),
                    ("cohere, fixed_size(96, 2)", "cohere", lambda batch: batch.fixed_size(96, 2)),
                ):
                    collection = f"Route{len(rates)}"
                    create_collection(client, collection, card, service_url=address, route=route)  # type: ignore[arg-type]
                    handle = client.collections.get(collection)

                    def fill(handle: Any = handle, how: Any = how) -> None:
                        with how(handle.batch) as batch:
                            for each in documents:
                                batch.add_object(
                                    {"text": each.text, "document_id": each.id}, uuid=object_id(each.id)
                                )

                    timed(name, fill)
                    found = handle.aggregate.over_all(total_count=True).total_count
                    assert found == len(documents), f"{name}: {found} of {len(documents)}"
        finally:
            client.close()
            server.stop()
    return rates


def table(rates: dict[str, float], count: int) -> str:
    best = (rates["engine"] + rates["engine again"]) / 2
    lines = ["| route | documents/s | of the engine's rate |", "|---|---:|---:|"]
    lines.append(
        f"| engine alone, before and after | {rates['engine']:.1f} and {rates['engine again']:.1f} | 100% |"
    )
    for name, rate in rates.items():
        if not name.startswith("engine"):
            shown = f"**{name}**" if name == "precomputed" else name
            lines.append(f"| {shown} | {rate:.1f} | {rate / best:.0%} |")
    slow, cohere = rates["transformers, fixed_size(96, 2)"], rates["cohere, fixed_size(96, 2)"]
    lines += [
        "",
        f"{count:,} documents, cohere {cohere / slow:.1f} times transformers; {os.cpu_count()} cores with "
        f"Weaviate and "
        f"the client on them, {date.today()}. Command: `python benchmarks/weaviate.py`.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = read_packages(download_lists(Path(folder)))
    chosen = random.Random(0).sample(packages, arguments.documents)
    texts = [f"{package.package}: {package.short}" for package in chosen]
    text = table(measure(texts), len(texts))
    print(text)
    if arguments.write:
        before, _, rest = RESULTS.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        RESULTS.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
