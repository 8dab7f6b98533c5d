from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.support import make_plan

from lusifer.errors import InvalidInputError, ReindexError
from lusifer.ingest.sources.source import DocumentSource
from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange
from lusifer.reindex.endpoints.file import FileSource, open_file
from lusifer.reindex.plan import Location

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    """Write seven documents, one of them twice, and two lines that are none."""
    path = tmp_path / "documents.jsonl"
    lines = [{"id": f"d{number}", "text": f"text {number}", "lang": "de"} for number in range(7)]
    lines.insert(3, {"id": "x"})
    lines += [{"id": "d0", "text": "text 0", "lang": "de"}, {"text": 5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return FileSource(DocumentSource(path), key_of=lambda id_: f"key-{id_}")


def test_documents_are_counted_once_each(source: FileSource) -> None:
    assert (source.count(), source.count()) == (7, 7)
    assert source.rejected_count == 2
    assert [each.where for each in source.rejected] == [
        "documents.jsonl line 4",
        "documents.jsonl line 10",
    ]
    assert source.count_without_vector() == 0


def test_a_file_is_read_in_order_and_from_any_place(source: FileSource) -> None:
    first = source.read(ALL_KEYS, None, 3)
    assert [record.key for record in first.records] == ["key-d0", "key-d1", "key-d2"]
    assert first.cursor == "000000000000003"
    rest = source.read(ALL_KEYS, first.cursor, 5)
    assert [record.key for record in rest.records] == [f"key-d{n}" for n in (3, 4, 5, 6, 0)]
    assert rest.cursor == "000000000000008"
    assert source.read(ALL_KEYS, rest.cursor, 5).records == []
    back = source.read(ALL_KEYS, "000000000000001", 1)
    assert [record.text for record in back.records] == ["text 1"]


def test_ranges_are_of_rows(source: FileSource) -> None:
    ranges = source.key_ranges(2)
    assert ranges == [KeyRange("", "000000000000004"), KeyRange("000000000000004", "")]
    page = source.read(ranges[0], None, 10)
    assert (len(page.records), page.cursor) == (4, None)
    page = source.read(ranges[1], None, 10)
    assert (len(page.records), page.cursor) == (4, None)


def test_a_sample_is_in_the_order_of_keys(source: FileSource) -> None:
    assert [record.key for record in source.sample(99, 0)] == [f"key-d{n}" for n in range(7)]
    assert len(source.sample(2, 0)) == 2


def test_a_file_can_not_be_searched(source: FileSource) -> None:
    assert source.key_of("a") == "key-a"
    for ask in (
        lambda: source.present(["a"]),
        lambda: source.vectors(["a"]),
        lambda: source.nearest([], 1, []),
    ):
        with pytest.raises(ReindexError, match="is a file and can't be searched"):
            ask()


def test_a_file_gets_its_fields_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("number,body,sprache\n7,ein Text,de\n")
    place = Location(kind="file", address=str(path), text_field="body", id_field="number")
    source = open_file(
        make_plan(source=place, language_field="sprache"), key_of=lambda id_: f"key-{id_}"
    )
    (record,) = source.sample(1, 0)
    assert (record.key, record.text, record.language) == ("key-7", "ein Text", "de")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    place = Location(kind="file", address=str(tmp_path / "absent.jsonl"))
    with pytest.raises(InvalidInputError, match="There is no file or folder"):
        open_file(make_plan(source=place))
