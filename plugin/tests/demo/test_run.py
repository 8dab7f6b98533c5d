from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer.demo import corpus as corpus_module
from lusifer.demo import run as run_module
from lusifer.demo.corpus import Corpus, shipped_documents
from lusifer.demo.debian import DebianUnavailableError
from lusifer.demo.questions import Question
from lusifer.demo.run import Answer, DemoReport, Interrupted, run_demo
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.ingest.indexer import IndexReport
from lusifer.types import Document, Hit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lusifer.bundle.format import Bundle


def answer(language: str, name: str, hits: Sequence[str], *expected: str) -> Answer:
    question = Question(language, name, "wish", f"text in {name}", {})
    found = tuple(Hit(id_, 0.5, "", {}) for id_ in hits)
    return Answer(question, found, frozenset(expected))


REPORT = DemoReport(
    Corpus("shipped", (Document("a", "one"),), reused=False),
    IndexReport(added=1, tokens=3, seconds=0.5),
    (
        answer("en", "English", ["a", "b"], "a"),
        answer("en", "English", ["b", "c", "d", "a"], "a"),
        answer("de", "German", ["b", "c"], "a"),
    ),
    {"corpus": 0.00149, "model": 1.0},
)


def test_an_answer_is_found_within_a_rank() -> None:
    late = answer("en", "English", ["b", "c", "d", "a"], "a", "x")
    assert [late.found(within) for within in (1, 3, 4, 10)] == [False, False, True, True]


def test_questions_are_counted_by_language() -> None:
    assert REPORT.by_language() == [("English", 2, 1, 2), ("German", 1, 0, 0)]


def test_the_report_as_json() -> None:
    fields = REPORT.as_dict()
    assert (fields["corpus"], fields["documents"]) == ("shipped", 1)
    assert fields["stages_s"] == {"corpus": 0.001, "model": 1.0}
    assert fields["languages"] == [
        {"language": "English", "questions": 2, "top_3": 1, "top_10": 2},
        {"language": "German", "questions": 1, "top_3": 0, "top_10": 0},
    ]
    answers = fields["answers"]
    assert isinstance(answers, list)
    assert answers[2] == {
        "language": "de",
        "question": "text in German",
        "intent": "wish",
        "in_top_3": False,
        "in_top_10": False,
        "hits": [
            {"id": "b", "score": 0.5, "expected": False},
            {"id": "c", "score": 0.5, "expected": False},
        ],
    }


@pytest.fixture
def vectorizer(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Vectorizer:
    """Return a model without weights, on a machine without apt."""

    def fail(folder: Path) -> Path:
        raise DebianUnavailableError("There is no network.", next_step="Plug it in.")

    monkeypatch.setattr(corpus_module, "download_lists", fail)
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


def test_stages_come_in_order(vectorizer: Vectorizer, tmp_path: Path) -> None:
    stages: list[tuple[str, bool]] = []
    report = run_demo(
        tmp_path,
        lambda: vectorizer,
        on_stage=lambda stage, corpus: stages.append((stage, corpus is not None)),
    )
    assert stages == [("corpus", False), ("model", True), ("index", True), ("questions", True)]
    assert list(report.stages_s) == ["corpus", "model", "index", "questions"]
    assert report.index.added == len(shipped_documents())
    digest = vectorizer.fingerprint.removeprefix("sha256:")[:12]
    assert (tmp_path / f"index-{digest}-{report.corpus.checksum[:12]}").is_dir()


def test_ctrl_c_while_indexing(
    vectorizer: Vectorizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> IndexReport:
        return IndexReport(added=3, interrupted=True)

    monkeypatch.setattr(run_module, "index_documents", interrupted)
    with pytest.raises(Interrupted):
        run_demo(tmp_path, lambda: vectorizer)
