"""Documents that the tests of the command line index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [{"id": f"d{i}", "text": f"document number {i}", "n": i} for i in range(30)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write 30 documents as JSON lines; return the file."""
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path
