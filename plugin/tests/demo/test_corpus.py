from __future__ import annotations

import io
from typing import TYPE_CHECKING

from lusifer.demo import corpus as corpus_module
from lusifer.demo.corpus import (
    Corpus,
    choose_documents,
    load_corpus,
    read_documents,
    shipped_documents,
)
from lusifer.demo.debian import DebianUnavailableError, Package
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def package(
    name: str, source: str = "", short: str = "a program", long: str = "It does things."
) -> Package:
    return Package(name, name, source or name, short, long)


def test_choice_of_documents() -> None:
    packages = [
        package("libx1"),
        package("x-dev"),
        package("gimp", long="word " * 100),
        package("gimp-data", "gimp"),
        package("tool-b", "tool"),
        package("tool"),
        package("old", short="transitional package"),
        package("empty", long=""),
        *(package(f"program{i}") for i in range(50)),
    ]
    chosen = choose_documents(packages, 20)
    ids = [document.id for document in chosen]
    assert len(ids) == 20
    assert ids == sorted(ids)
    assert "gimp" in ids
    assert not {"libx1", "x-dev", "gimp-data", "tool-b", "old", "empty"} & set(ids)
    assert choose_documents(list(reversed(packages)), 20) == chosen
    assert {document.id for document in choose_documents(packages, 19)} < set(ids)
    assert all(len(document.text) <= 225 for document in chosen)


def test_a_line_separator_within_a_text_does_not_end_the_line() -> None:
    lines = (
        '{"id": "a", "text": "one\u2028two\u2029three\x85four", "language": "en"}\n'
        '{"id": "b", "text": "zwei", "language": "de"}\n'
    )
    assert read_documents(io.BytesIO(lines.encode())) == (
        Document("a", "one\u2028two\u2029three\x85four", {"language": "en"}),
        Document("b", "zwei", {"language": "de"}),
    )


def test_shipped_corpus() -> None:
    documents = shipped_documents()
    languages = [document.metadata["language"] for document in documents]
    assert len({document.id for document in documents}) == len(documents)
    assert languages.count("en") >= 60
    assert len(set(languages)) >= 9


def test_corpus_of_debian_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lists: Path
) -> None:
    monkeypatch.setattr(corpus_module, "download_lists", lambda folder: lists)
    first = load_corpus(tmp_path / "kept", documents=2)
    monkeypatch.undo()
    second = load_corpus(tmp_path / "kept", documents=2)
    assert (first.source, first.reused, second.reused) == ("debian", False, True)
    assert first.documents == second.documents
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["corpus.json"]


def test_a_corpus_that_was_changed_on_disk_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lists: Path
) -> None:
    monkeypatch.setattr(corpus_module, "download_lists", lambda folder: lists)
    first = load_corpus(tmp_path, documents=2)
    kept = tmp_path / "corpus.json"
    kept.write_text(kept.read_text(encoding="utf-8").replace("gimp", "pimp"), encoding="utf-8")
    again = load_corpus(tmp_path, documents=2)
    assert (again.documents, again.reused) == (first.documents, False)


def test_too_few_programs_give_the_shipped_corpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lists: Path
) -> None:
    monkeypatch.setattr(corpus_module, "download_lists", lambda folder: lists)
    corpus = load_corpus(tmp_path, documents=3)
    assert corpus == Corpus(
        "shipped",
        shipped_documents(),
        reused=False,
        note="apt's sources describe 2 programs, the demonstration needs 3.",
    )


def test_without_debian_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(folder: Path) -> Path:
        raise DebianUnavailableError("There is no network.", next_step="Plug it in.")

    monkeypatch.setattr(corpus_module, "download_lists", fail)
    first, second = load_corpus(tmp_path), load_corpus(tmp_path)
    assert (first.source, first.note, first.reused) == ("shipped", "There is no network.", False)
    assert (second.source, second.note, second.reused) == ("shipped", "There is no network.", True)
