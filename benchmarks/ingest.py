"""Bulk ingest through the real command: how much of the engine's throughput is left, and what memory does.

    python benchmarks/ingest.py --write

The documents are the names and short descriptions of Debian's packages, 50,000 of them by default.
The engine's own rate is measured on a sample of the same documents, in a process of its own, before
and after. Then ``lusifer index`` fills an embedded index, its resident memory read every second,
and ``lusifer search`` asks it one question in each of several languages."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.report import engine_rate, parser_for, write_table

from lusifer.demo.debian import download_lists, read_packages
from lusifer.demo.questions import load_questions

LUSIFER = str(Path(sys.executable).with_name("lusifer"))
SAMPLE = 2_000


def write_documents(path: Path, count: int) -> list[str]:
    """Write ``count`` documents as JSON lines; returns their texts."""
    with tempfile.TemporaryDirectory() as folder:
        packages = read_packages(download_lists(Path(folder)))
    chosen = sorted(
        random.Random(0).sample(packages, min(count, len(packages))), key=lambda each: each.id
    )
    texts = [f"{package.package}: {package.short}" for package in chosen]
    with path.open("w", encoding="utf-8") as lines:
        for package, text in zip(chosen, texts, strict=True):
            record = {"id": package.id, "text": text, "lang": "en", "source": package.source}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    return texts


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0")
    return int(line.split()[1]) / 1024


def ingest(source: Path, target: Sequence[str]) -> tuple[dict[str, object], list[float]]:
    """Run the command; returns its report and the memory at every second."""
    command = [LUSIFER, "index", str(source), *target, "--json"]
    memory: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            memory.append(resident_mib(process.pid))
            time.sleep(1)
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
    return report, [each for each in memory if each]


def ask(target: Sequence[str], languages: int) -> list[tuple[str, str, str]]:
    """Ask one question in each of the first languages; return language, question, best hit."""
    seen: dict[str, str] = {}
    for question in load_questions():
        seen.setdefault(question.language_name, question.text)
    answers = []
    for language, text in list(seen.items())[:languages]:
        command = [LUSIFER, "search", text, *target, "--limit", "1", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answers.append((language, text, json.loads(done.stdout)["text"]))
    return answers


def table(result: dict) -> str:  # type: ignore[type-arg]
    before, after = result["engine_before"], result["engine_after"]
    rate, best = result["rate"], (before + after) / 2
    memory = result["memory_mib"]
    rows = [
        ("engine alone, before and after", f"{before:,.0f} and {after:,.0f} tokens/s", "100%"),
        (
            f"**`lusifer index` of {result['documents']:,} documents**",
            f"{rate:,.0f} tokens/s, {result['documents'] / result['seconds']:,.0f} documents/s",
            f"{rate / best:.0%}",
        ),
        (
            "memory at 20%, 60% and 100% of the way",
            ", ".join(f"{memory[int(share * (len(memory) - 1))]:,.0f}" for share in (0.2, 0.6, 1))
            + " MiB",
            "",
        ),
    ]
    lines = ["| what | measured | of the engine's rate |", "|---|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "| language | question | best hit |", "|---|---|---|"]
    lines += [f"| {' | '.join(each)} |" for each in result["answers"]]
    lines += [
        "",
        f"{os.cpu_count()} cores, {date.today()}. Command: `python benchmarks/ingest.py`.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--languages", type=int, default=10)
    parser.add_argument(
        "--qdrant", metavar="URL", help="fill this server instead of an index folder"
    )
    parser.add_argument("--collection", help="of the server, made with lusifer qdrant setup")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "documents.jsonl"
        texts = write_documents(source, arguments.documents)
        if arguments.qdrant:
            target = ["--qdrant", arguments.qdrant, "--collection", arguments.collection]
        else:
            target = ["--index", str(Path(folder) / "index")]
        sample = random.Random(1).sample(texts, min(SAMPLE, len(texts)))
        _, before = engine_rate(sample)
        report, memory = ingest(source, target)
        result = {
            "documents": report["added"],
            "rate": report["tokens"] / report["seconds"],  # type: ignore[operator]
            "seconds": report["seconds"],
            "memory_mib": memory,
            "engine_before": before,
            "engine_after": engine_rate(sample)[1],
            "answers": ask(target, arguments.languages),
        }
    text = table(result)
    print(text)
    if arguments.write:
        write_table("ingest", text)


if __name__ == "__main__":
    main()
