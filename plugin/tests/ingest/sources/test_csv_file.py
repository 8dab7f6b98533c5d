from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def test_csv_and_gz(tmp_path: Path) -> None:
    table = '\ufeffid,text,lang\r\n1,"a, b\r\nc",en\r\n,zwei,de\r\n'
    (tmp_path / "d.csv").write_bytes(table.encode())
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(table.encode()))
    expected = [
        Document("1", "a, b\r\nc", {"lang": "en"}),
        Document(hashlib.sha256(b"zwei").hexdigest(), "zwei", {"lang": "de"}),
    ]
    assert read(tmp_path / "d.csv") == read(tmp_path / "d.csv.gz") == expected


def test_tabs_separate_the_columns_of_tsv(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("id\ttext\n1\tone, two\n")
    assert read(tmp_path / "d.tsv") == [Document("1", "one, two", {})]


def test_bad_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(
        b'id,text\n1,one\n2\n3,caf\xe9\n4,"x"y\n5,a\x00b\n6,six\n7,"never closed\n8,eight\n'
    )
    items = read(path)
    assert [item.id for item in items if isinstance(item, Document)] == ["1", "6"]
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert [item.where.removeprefix("d.csv ") for item in rejected] == [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 8 to 9",
    ]
    assert "1 columns" in rejected[0].reason
    assert "0xE9" in rejected[1].reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "d.csv has no header that can be read: it is empty."),
        ("id,body\n", "d.csv has no column 'text'; its columns are 'id', 'body'."),
        (
            "text,text\n",
            "d.csv has no header that can be read: it names the column 'text' twice.",
        ),
    ],
)
def test_a_header_that_can_not_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path / "d.csv")
    assert caught.value.message == message
