"""Files for the tests that read documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lusifer.ingest.sources.source import DocumentSource

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.ingest.sources.base import Rejected
    from lusifer.types import Document


def read(source: Path | str, **options: str) -> list[Document | Rejected]:
    """Read a source whole."""
    return list(DocumentSource(source, **options))


def write_lines(path: Path, *records: Any) -> Path:
    """Write JSON lines; a record that is a string is a line as it stands."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """Write a Parquet file; skip the test where pyarrow is not installed."""
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path, **options)
    return path
