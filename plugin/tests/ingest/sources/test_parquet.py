from __future__ import annotations

import hashlib
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read, write_parquet

from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.stores.fields import FieldRules
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
        },
    )
    good, *rejected, fine = read(path)
    assert (good, fine) == (Document("1", "good", {}), Document("4", "fine", {}))
    assert [each.where for each in rejected if isinstance(each, Rejected)] == [
        f"d.parquet row {n}" for n in (2, 3)
    ]


def test_columns_that_json_has_no_values_for_are_left_out_with_a_note(tmp_path: Path) -> None:
    columns = {"text": ["good"], "raw": [b"\x00"], "lasts": [timedelta(1)], "lang": ["en"]}
    source = DocumentSource(write_parquet(tmp_path / "d.parquet", columns))
    (good,) = source
    assert good.metadata == {"lang": "en"}  # type: ignore[union-attr]
    assert source.notes == [
        "JSON has no such values, so these columns are left out: 'raw' (binary), 'lasts' "
        "(duration[us])."
    ]


def test_nested_texts_templates_and_fields(tmp_path: Path) -> None:
    columns = {"id": [1], "doc": [{"title": "T", "body": "B"}], "old": ["x"], "url": ["u"]}
    path = write_parquet(tmp_path / "d.parquet", columns)
    rules = FieldRules("doc.body", drop=frozenset({"url"}), rename={"old": "new"})
    (nested,) = DocumentSource(path, rules=rules)
    assert nested == Document("1", "B", {"doc": {"title": "T"}, "new": "x"})
    (composed,) = DocumentSource(path, rules=FieldRules(template="{doc.title}: {doc.body}"))
    assert isinstance(composed, Document)
    assert composed.text == "T: B"


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


def test_dates_that_python_does_not_have_cost_their_rows_only(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    columns = {
        "text": ["one", "two", "three", "four"],
        "at": arrow.array([0, 253402300800, 1, 2], arrow.int64()).cast(arrow.timestamp("s")),
        "day": arrow.array([0, 0, -800000, 1], arrow.int32()).cast(arrow.date32()),
    }
    first, second, third, fourth = read(write_parquet(tmp_path / "d.parquet", columns))
    assert [first.text, fourth.text] == ["one", "four"]  # type: ignore[union-attr]
    assert isinstance(second, Rejected)
    assert isinstance(third, Rejected)
    assert second.where == "d.parquet row 2"
    assert "'at' (timestamp[ms])" in second.reason
    assert "'day' (date32[day])" in third.reason


@pytest.mark.parametrize("pandas", [True, False])
def test_nanoseconds_need_no_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pandas: bool
) -> None:
    arrow = pytest.importorskip("pyarrow")
    if not pandas:
        monkeypatch.setattr("pyarrow.lib._pandas_api", None, raising=False)
        monkeypatch.setitem(sys.modules, "pandas", None)
    times = [1_709_209_800_123_456_789, 1_709_209_800_123_000_000, -1, None]
    columns = {
        "id": ["1", "2", "3", "4"],
        "text": ["a", "b", "c", "d"],
        "at": arrow.array(times, arrow.timestamp("ns")),
        "utc": arrow.array(times, arrow.timestamp("ns", "UTC")),
        "there": arrow.array(times, arrow.timestamp("ns", "+02:00")),
    }
    found = read(write_parquet(tmp_path / "d.parquet", columns))
    assert [each.metadata for each in found if isinstance(each, Document)] == [
        {
            "at": "2024-02-29T12:30:00.123456789",
            "utc": "2024-02-29T12:30:00.123456789+00:00",
            "there": "2024-02-29T14:30:00.123456789+02:00",
        },
        {
            "at": "2024-02-29T12:30:00.123000",
            "utc": "2024-02-29T12:30:00.123000+00:00",
            "there": "2024-02-29T14:30:00.123000+02:00",
        },
        {
            "at": "1969-12-31T23:59:59.999999999",
            "utc": "1969-12-31T23:59:59.999999999+00:00",
            "there": "1970-01-01T01:59:59.999999999+02:00",
        },
        {},
    ]
