from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def test_folder(tmp_path: Path) -> None:
    for name in ("b.txt", "a/x.md", "a/y.rst", ".git/z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    source = DocumentSource(tmp_path)
    first, bad, second = source
    assert first == Document("b.txt", "text of b.txt", {"path": "b.txt"})
    assert second == Document("a/x.md", "text of a/x.md", {"path": "a/x.md"})
    assert isinstance(bad, Rejected)
    assert "0xE9" in bad.reason
    assert source.fraction == 1.0


def test_a_folder_without_text_files(tmp_path: Path) -> None:
    (tmp_path / "d.pdf").write_text("x")
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path)
    assert caught.value.message == f"{tmp_path} holds no .txt or .md file (1 .pdf)."


def test_skipped_files_are_counted_by_their_ending(tmp_path: Path) -> None:
    for name in ("a.txt", "b.pdf", "c.PDF", "d.html", "e.rst", "README", ".hidden/f.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    source = DocumentSource(tmp_path)
    assert len(list(source)) == 1
    assert source.notes == [
        f"{tmp_path}: 5 files were skipped (2 .pdf, 1 .html, 1 .rst, 1 without an ending)."
    ] or source.notes == [
        f"{tmp_path}: 5 files were skipped (2 .pdf, 1 without an ending, 1 .html, 1 .rst)."
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_texts_with_a_mark_or_of_two_bytes(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Größe 東京".encode(encoding))
    source = DocumentSource(tmp_path)
    (document,) = source
    assert isinstance(document, Document)
    assert document.text == "Größe 東京"
    assert source.notes == (
        [] if encoding == "utf-8-sig" else [f"1 files were read as {encoding}."]
    )


def test_a_link_that_leads_nowhere_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "nothing")
    assert read(tmp_path) == [
        Rejected("a.txt", "It is not a regular file.", "Replace it with a file, or remove it.")
    ]
