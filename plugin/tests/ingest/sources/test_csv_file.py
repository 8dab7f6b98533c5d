from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def test_csv_and_gz(tmp_path: Path) -> None:
    table = '\ufeffid,text,lang\r\n1,"a, b\r\nc",en\r\n,zwei,de\r\n'
    (tmp_path / "d.csv").write_bytes(table.encode())
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(table.encode()))
    expected = [
        Document("1", "a, b\r\nc", {"lang": "en"}),
        Document(content_sha256(Document("", "zwei", {"lang": "de"})), "zwei", {"lang": "de"}),
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
    assert "empty" in rejected[0].reason
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


def test_rows_as_excel_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,text,lang,,\n1,one,en,,\n2,two,de,,,,\n3,three\n4,four,fr,,stray\n")
    source = DocumentSource(path)
    one, two, three, stray = source
    assert (one, two, three) == (
        Document("1", "one", {"lang": "en"}),
        Document("2", "two", {"lang": "de"}),
        Document("3", "three", {"lang": ""}),
    )
    assert isinstance(stray, Rejected)
    assert stray.reason == "The row has 5 columns, the header 3."
    assert source.notes == [
        "d.csv: empty cells after the last named column were dropped.",
        "d.csv: 1 rows have fewer cells than the header; the missing ones are empty.",
    ]
    path.write_text("id,text\n1,one\n")
    assert len(list(source)) == 1
    assert source.notes == []


def test_a_column_without_a_name_between_others(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,,text\n1,,one\n2,x,two\n")
    assert read(path) == [Document("1", "one", {}), Document("2", "two", {"column 2": "x"})]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_of_unicode(tmp_path: Path, encoding: str, packed: bool) -> None:
    path = tmp_path / ("d.csv.gz" if packed else "d.csv")
    raw = "id,text\n1,Größe 東京 🙂\n".encode(encoding)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    source = DocumentSource(path)
    assert list(source) == [Document("1", "Größe 東京 🙂", {})]
    assert bool(source.notes) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Die Größe der Häuser überrascht die Gäste, während Bäume blühen und Flüsse "
         "über die Ufer treten; das Mädchen hört schöne Lieder."),
        ("cp1251", "Кошка сидит на коврике, а собака бежит по парку и громко лает на прохожих."),
        ("shift_jis", "猫はマットの上に座っています。犬は公園を走っています。"),
        ("gb18030", "猫坐在垫子上，狗在公园里奔跑，孩子们在学校学习历史和文化。"),
        ("euc-kr", "고양이가 매트 위에 앉아 있습니다. 개가 공원에서 뛰어다닙니다."),
    ],
)  # fmt: skip
def test_older_encodings_are_detected(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(f'id,text\n1,"{text}"\n2,"{text}"\n'.encode(encoding))
    source = DocumentSource(path)
    assert [each.text for each in source if isinstance(each, Document)] == [text, text]
    assert "was read as" in source.notes[0]


def test_a_text_that_ends_within_a_character(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("id,text\n1,one\n".encode("utf-16") + b"\x00")
    *_, last = read(path)
    assert isinstance(last, Rejected)
    assert "it is not utf-16" in last.reason


@pytest.mark.parametrize(
    ("table", "noted"),
    [
        ("id;text\n1;one, two\n2;three\n", True),
        ("id\ttext\n1\tone, two\n2\tthree\n", True),
        ("id|text\n1|one, two\n2|three\n", True),
        ('id,text\n1,"one, two"\n2,three\n', False),
        ("sep=;\r\nid;text\r\n1;one, two\r\n2;three\r\n", True),
        ("\ufeffsep=;\r\nid;text\r\n1;one, two\r\n2;three\r\n", True),
        ('"sep=#"\nid#text\n1#one, two\n2#three\n', True),
    ],
)
def test_the_separator_is_detected(tmp_path: Path, table: str, noted: bool) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(table.encode())
    source = DocumentSource(path)
    assert list(source) == [Document("1", "one, two", {}), Document("2", "three", {})]
    assert bool(source.notes) == noted


def test_lines_are_counted_with_the_one_of_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('sep=;\nid;text\n1;one\n2;"x"y\n')
    _, rejected = read(path)
    assert isinstance(rejected, Rejected)
    assert rejected.where == "d.csv line 4"


def test_a_table_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text\nOne; two, three\nFour\n")
    assert [each.text for each in read(path)] == ["One; two, three", "Four"]  # type: ignore[union-attr]
