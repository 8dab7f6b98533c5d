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
    assert caught.value.message == f"{tmp_path} holds no .txt or .md file."


def test_a_link_that_leads_nowhere_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "nothing")
    assert read(tmp_path) == [
        Rejected("a.txt", "It is not a regular file.", "Replace it with a file, or remove it.")
    ]
