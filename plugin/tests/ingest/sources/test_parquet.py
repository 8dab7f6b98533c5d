from __future__ import annotations

import hashlib
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read, write_parquet

from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.sources.base import Rejected
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def test_parquet_values_come_as_json_has_them(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "d.parquet",
        {
            "id": [1, None],
            "text": ["one", "zwei"],
            "day": [date(2024, 2, 29), None],
            "at": [datetime(2024, 2, 29, 12, 30, tzinfo=UTC), None],
            "price": [Decimal("1.10"), None],
            "tags": [["a", "b"], None],
            "author": [{"name": "Ada", "born": date(1815, 12, 10)}, None],
            "score": [0.5, None],
            "open": [True, None],
        },
    )
    first, second = read(path)
    assert first == Document(
        "1",
        "one",
        {
            "day": "2024-02-29",
            "at": "2024-02-29T12:30:00+00:00",
            "price": "1.10",
            "tags": ["a", "b"],
            "author": {"name": "Ada", "born": "1815-12-10"},
            "score": 0.5,
            "open": True,
        },
    )
    assert second == Document(hashlib.sha256(b"zwei").hexdigest(), "zwei", {})


def test_parquet_rows_that_can_not_be_indexed_are_reported_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    path = write_parquet(
        tmp_path / "d.parquet",
        {
            "id": [1, 2, 3, 4],
            "text": ["good", None, " ", "fine"],
            "raw": [None, None, None, b"\x00"],
        },
    )
    good, *rejected = read(path)
    assert good == Document("1", "good", {})
    assert [each.where for each in rejected if isinstance(each, Rejected)] == [
        f"d.parquet row {n}" for n in (2, 3, 4)
    ]
    assert "raw" in rejected[2].reason and "bytes" in rejected[2].reason  # type: ignore[union-attr]


def test_parquet_of_numbers_or_without_the_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", {"body": [7]})
    with pytest.raises(InvalidInputError, match="no column 'text'; its columns are body"):
        read(path)
    (rejected,) = read(path, text_field="body")
    assert isinstance(rejected, Rejected)
    assert "holds a int, not a text" in rejected.reason


def test_damaged_parquet_is_reported(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "d.parquet",
        {"text": [f"text {n} " * 50 for n in range(5000)]},
        row_group_size=500,
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (rejected,) = read(path)
    assert isinstance(rejected, Rejected)
    assert "can't be read" in rejected.reason
    damaged = bytearray(whole)
    middle = len(whole) // 2
    damaged[middle : middle + 2000] = bytes(2000)
    path.write_bytes(damaged)
    *read_first, last = read(path)
    assert isinstance(last, Rejected)
    assert 0 < len(read_first) < 5000, "what comes before the damage is kept"


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "d.parquet", {"text": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow") as caught:
        read(path)
    assert "lusifer[parquet]" in caught.value.next_step
