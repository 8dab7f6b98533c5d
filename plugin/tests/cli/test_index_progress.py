from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from lusifer.cli import index_progress as module
from lusifer.cli.index_progress import index_progress
from lusifer.ingest.indexer import IndexReport

if TYPE_CHECKING:
    import pytest


def shown(monkeypatch: pytest.MonkeyPatch, fraction: float | None, *, terminal: bool) -> str:
    """Return what a terminal, or a file, shows after 128 documents in 2 seconds."""
    file = io.StringIO()
    made = Console(file=file, force_terminal=terminal, width=100)
    monkeypatch.setattr(module, "console", lambda **_: made)
    with index_progress(lambda report: fraction) as on_progress:
        on_progress(IndexReport(added=100, unchanged=20, rejected_count=8, seconds=2.0))
    return file.getvalue()


def test_a_terminal_shows_count_rate_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, 0.25, terminal=True)
    assert "Indexing" in text
    assert "25 %" in text
    assert "128 documents, 64/s" in text


def test_an_unknown_size_shows_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, None, terminal=True)
    assert "128 documents, 64/s" in text
    assert "25 %" not in text


def test_a_file_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 0.25, terminal=False) == ""
