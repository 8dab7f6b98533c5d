"""``lusifer demo``: shows cross-language search on real text, without any preparation."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_INTERRUPTED, Command, show, write_json
from lusifer.cli.embedders import load_vectorizer
from lusifer.cli.index_progress import index_progress
from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from lusifer.demo.corpus import Corpus
    from lusifer.demo.run import Answer, DemoReport

__all__ = ["COMMAND", "demo"]

_HITS_SHOWN = 3
_CHARACTERS_SHOWN = 76
_STAGES = {
    "corpus": "Choosing documents",
    "model": "Loading the model (the first time builds it: minutes)",
    "index": "Indexing",
    "questions": "Asking the questions",
}


def demo(
    fresh: Annotated[bool, typer.Option("--fresh")] = False,
    bundle: options.Bundle = None,
    as_json: options.Json = False,
) -> None:
    """Index English documents and ask questions in other languages.

    The documents are Debian's descriptions of programs. On a machine without apt or a network, they
    are a small corpus that ships with LUSIFER. A run keeps what it builds, so that the next one
    takes seconds. An interrupted run continues where it stopped.

    Options:
        fresh: Delete what earlier runs kept, and start again.
    """
    from lusifer.common.paths import cache_directory
    from lusifer.demo.corpus import DOCUMENTS
    from lusifer.demo.run import Interrupted, run_demo

    folder = cache_directory() / "demo"
    if fresh and folder.exists():
        shutil.rmtree(folder)

    def on_stage(stage: str, corpus: Corpus | None) -> None:
        count = f" {len(corpus.documents):,} documents" if corpus and stage == "index" else ""
        show(f"{_STAGES[stage]}{count} …\n", err=True)
        sys.stderr.flush()

    try:
        with index_progress(lambda report: report.read / DOCUMENTS) as on_progress:
            report = run_demo(
                folder,
                lambda: load_vectorizer(bundle, quiet=True),
                on_stage=on_stage,
                on_progress=on_progress,
            )
    except Interrupted:
        show(
            "Interrupted. Indexed documents are kept; the same command continues from here.\n",
            err=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        write_json(report.as_dict())
    else:
        _show(report)


COMMAND = Command(demo, ("lusifer demo", "lusifer demo --json", "lusifer demo --fresh"))


def _show(report: DemoReport) -> None:
    texts = {document.id: document.text for document in report.corpus.documents}
    language = ""
    for answer in report.answers:
        if answer.question.language_name != language:
            language = answer.question.language_name
            _write(f"\n{language}")
        _show_answer(answer, texts)
    _write("\nQuestions with an expected document (*) among the first 3 and the first 10 hits")
    rows = report.by_language()
    everything = (
        "all",
        sum(row[1] for row in rows),
        sum(row[2] for row in rows),
        sum(row[3] for row in rows),
    )
    for name, count, top_3, top_10 in (*rows, everything):
        _write(f"  {name:<11} {top_3}/{count}  {top_10}/{count}")
    _show_times(report)


def _show_answer(answer: Answer, texts: dict[str, str]) -> None:
    _write(f"  {answer.question.text}   ({answer.question.intent})")
    for hit in answer.hits[:_HITS_SHOWN]:
        text = texts.get(hit.id, hit.text)
        shown = text if len(text) <= _CHARACTERS_SHOWN else text[: _CHARACTERS_SHOWN - 1] + "…"
        _write(
            f"    {'*' if hit.id in answer.expected else ' '} {hit.score:.3f}  {printable(shown)}"
        )


def _show_times(report: DemoReport) -> None:
    corpus, index, stages = report.corpus, report.index, report.stages_s
    kind = (
        "Debian's package descriptions"
        if corpus.source == "debian"
        else "the corpus that ships with LUSIFER"
    )
    kept = ", kept by an earlier run" if corpus.reused else ""
    _write(f"\nDocuments  {stages['corpus']:6.1f} s  {len(corpus.documents):,} of {kind}{kept}")
    if corpus.note:
        _write(f"                     because: {corpus.note} To try again: lusifer demo --fresh")
    _write(f"Model      {stages['model']:6.1f} s")
    rate = (
        f", {index.added / index.seconds:.0f} documents/s, {index.tokens:,} tokens"
        if index.added
        else ""
    )
    _write(
        f"Index      {stages['index']:6.1f} s  {index.added:,} added, {index.unchanged:,} kept"
        f"{rate}"
    )
    _write(f"Questions  {stages['questions']:6.1f} s  {len(report.answers)} questions")


def _write(line: str) -> None:
    show(line + "\n")
