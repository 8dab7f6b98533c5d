"""Runs the demonstration: corpus, model, index, questions.

Each stage is timed. Corpus and index are kept for the next run.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.demo.corpus import DOCUMENTS, Corpus, load_corpus
from lusifer.demo.questions import Question, load_questions
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import IndexCorruptError
from lusifer.ingest.indexer import IndexReport, index_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.types import JSON, Hit

__all__ = ["Answer", "DemoReport", "Interrupted", "run_demo"]

_HITS = 10
WINDOW = 256


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while indexing; stored documents are kept."""


@dataclass(frozen=True)
class Answer:
    """The hits of one question."""

    question: Question
    """The question."""
    hits: tuple[Hit, ...]
    """At most ten hits, best first."""
    expected: frozenset[str]
    """Ids of the documents in the corpus that answer the question."""

    def found(self, within: int) -> bool:
        """Return whether an expected document is among the first ``within`` hits."""
        return any(hit.id in self.expected for hit in self.hits[:within])


@dataclass(frozen=True)
class DemoReport:
    """The results of a demonstration."""

    corpus: Corpus
    """The documents that were searched."""
    index: IndexReport
    """The counts of the indexing run."""
    answers: tuple[Answer, ...]
    """The answers, one for each question."""
    stages_s: dict[str, float]
    """Seconds of the stages ``corpus``, ``model``, ``index``, ``questions``."""

    def by_language(self) -> list[tuple[str, int, int, int]]:
        """Count the questions of each language.

        Returns:
            A row for each language: its name, the number of its questions, and how many of them
            have an expected document among the first 3 and the first 10 hits.
        """
        names = dict.fromkeys(answer.question.language_name for answer in self.answers)
        rows = []
        for name in names:
            own = [answer for answer in self.answers if answer.question.language_name == name]
            rows.append(
                (name, len(own), sum(a.found(3) for a in own), sum(a.found(10) for a in own))
            )
        return rows

    def as_dict(self) -> dict[str, JSON]:
        """Return the results as JSON."""
        return {
            "corpus": self.corpus.source,
            "documents": len(self.corpus.documents),
            "index": self.index.as_dict(),
            "stages_s": {stage: round(seconds, 3) for stage, seconds in self.stages_s.items()},
            "languages": [
                {"language": name, "questions": count, "top_3": top_3, "top_10": top_10}
                for name, count, top_3, top_10 in self.by_language()
            ],
            "answers": [_answer_dict(answer) for answer in self.answers],
        }


def run_demo(
    folder: Path,
    load_vectorizer: Callable[[], Vectorizer],
    *,
    documents: int = DOCUMENTS,
    on_stage: Callable[[str, Corpus | None], None] = lambda stage, corpus: None,
    on_progress: Callable[[IndexReport], None] | None = None,
) -> DemoReport:
    """Run all stages, except the work that an earlier run has done.

    Args:
        folder: Folder in which corpus and index are kept.
        load_vectorizer: Loads the model; called once.
        documents: Number of documents in the corpus.
        on_stage: Called with the name of each stage as it begins, and with the corpus once it is
            known.
        on_progress: Called after each window of documents.

    Raises:
        Interrupted: Ctrl-C came while indexing.
        LusiferError: A stage failed.
    """
    stages_s: dict[str, float] = {}
    started_s = time.monotonic()

    def next_stage(done: str) -> None:
        nonlocal started_s
        now_s = time.monotonic()
        stages_s[done], started_s = now_s - started_s, now_s

    on_stage("corpus", None)
    corpus = load_corpus(folder, documents=documents)
    next_stage("corpus")
    on_stage("model", corpus)
    with load_vectorizer() as vectorizer:
        next_stage("model")
        on_stage("index", corpus)
        # Another model or other documents need another index.
        name = f"index-{vectorizer.fingerprint.removeprefix('sha256:')[:12]}-{corpus.checksum[:12]}"
        with _opened(folder / name, vectorizer) as store:
            report = index_documents(
                corpus.documents, vectorizer, store, window=WINDOW, on_progress=on_progress
            )
            if report.interrupted:
                raise Interrupted
            if report.added:
                store.optimize()
            next_stage("index")
            on_stage("questions", corpus)
            answers = _ask(load_questions(), corpus, vectorizer, store)
            next_stage("questions")
    return DemoReport(corpus, report, tuple(answers), stages_s)


def _opened(path: Path, vectorizer: Vectorizer) -> EmbeddedStore:
    def attempt() -> EmbeddedStore:
        return EmbeddedStore.open_or_create(
            path,
            fingerprint=vectorizer.fingerprint,
            dimension=vectorizer.dimension,
            model=vectorizer.bundle.manifest.name,
        )

    try:
        return attempt()
    except IndexCorruptError:
        # Nothing else uses this folder, and all of it can be built again.
        shutil.rmtree(path)
        return attempt()


def _ask(
    questions: Sequence[Question], corpus: Corpus, vectorizer: Vectorizer, store: EmbeddedStore
) -> Iterable[Answer]:
    ids = {document.id for document in corpus.documents}
    embeddings = vectorizer.embed_queries([question.text for question in questions])
    return [
        Answer(
            question,
            tuple(store.search(embedding.vector, _HITS)),
            question.expected[corpus.source] & ids,
        )
        for question, embedding in zip(questions, embeddings, strict=True)
    ]


def _answer_dict(answer: Answer) -> dict[str, JSON]:
    return {
        "language": answer.question.language,
        "question": answer.question.text,
        "intent": answer.question.intent,
        "in_top_3": answer.found(3),
        "in_top_10": answer.found(10),
        "hits": [
            {"id": hit.id, "score": round(hit.score, 6), "expected": hit.id in answer.expected}
            for hit in answer.hits
        ],
    }
