from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lusifer.documents import DocumentSource, Rejected
from lusifer.errors import InvalidInputError
from lusifer.lines import read_lines
from lusifer.store import Document

if TYPE_CHECKING:
    from pathlib import Path


def read(source: Path | str, **options: str) -> list[Document | Rejected]:
    return list(DocumentSource(source, **options))


def write(path: Path, *records: Any) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"id": 7, "text": "one", "lang": "en", "n": [1]}, "", {"text": "zwei"})
    assert read(path) == [
        Document("7", "one", {"lang": "en", "n": [1]}),
        Document(hashlib.sha256(b"zwei").hexdigest(), "zwei", {}),
    ]


def test_other_fields_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "d.ndjson", {"key": "a", "body": "one", "id": "kept"})
    assert read(path, text_field="body", id_field="key") == [Document("a", "one", {"id": "kept"})]


def test_text_field_as_id_field(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"text": "one"})
    assert read(path, id_field="text") == [Document(hashlib.sha256(b"one").hexdigest(), "one", {})]


def test_csv_and_gz(tmp_path: Path) -> None:
    table = '\ufeffid,text,lang\r\n1,"a, b\r\nc",en\r\n,zwei,de\r\n'
    (tmp_path / "d.csv").write_bytes(table.encode())
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(table.encode()))
    expected = [
        Document("1", "a, b\r\nc", {"lang": "en"}),
        Document(hashlib.sha256(b"zwei").hexdigest(), "zwei", {"lang": "de"}),
    ]
    assert read(tmp_path / "d.csv") == read(tmp_path / "d.csv.gz") == expected


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one", "id": "1"}')))
    assert read("-") == [Document("1", "one", {})]


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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{broken", "not JSON"),
        (b'["a"]', "not a JSON object"),
        (b'{"text": NaN}', "NaN is not a JSON value"),
        (b'{"other": "x"}', "'text' is missing"),
        (b'{"\\ud800": "x"}', "'text' is missing"),
        (b'{"text": 5}', "holds a int"),
        (b'{"text": null}', "holds a NoneType"),
        (b'{"text": ""}', "empty"),
        (b'{"text": " \\n\\u200b"}', "no visible character"),
        (b'{"text": "a\\u0000b"}', "NUL"),
        (b'{"text": "a\\ud800b"}', "lone surrogate"),
        (b'{"text": "caf\xe9"}', "byte 0xE9"),
        (b'{"text": "x", "id": 1.5}', "holds a float"),
        (b'{"text": "x", "id": true}', "holds a bool"),
        (b'{"text": "x", "id": "\\udc00"}', "id"),
        (b'{"text": "x", "m": "\\udc00"}', "metadata"),
        (b'{"text": "x", "m": 1e999}', "metadata"),
        (b'{"text": "x", "m": 123456789012345678901234567890}', "metadata"),
        (b'{"text": "x", "m": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        (b'{"text": "first", "id": "good"}', None),
        (b'{"text": "other", "id": "good"}', "was used before"),
    ],
)
def test_a_bad_record_is_told_and_the_rest_goes_on(tmp_path: Path, line: bytes, reason: str | None) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"text": "first", "id": "good"}\n' + line + b'\n{"text": "last", "id": "last"}\n')
    first, middle, last = read(path)
    assert first == Document("good", "first", {})
    assert last == Document("last", "last", {})
    if reason is None:
        assert middle == first
        return
    assert isinstance(middle, Rejected)
    assert middle.where == "d.jsonl line 2"
    assert reason in middle.reason
    assert middle.next_step
    json.dumps(middle.as_dict(), ensure_ascii=False).encode()


def test_bad_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b'id,text\n1,one\n2\n3,caf\xe9\n4,"x"y\n5,a\x00b\n6,six\n7,"never closed\n8,eight\n')
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


def test_damaged_gz_keeps_what_could_be_read(tmp_path: Path) -> None:
    lines = b"".join(
        b'{"text": "%s"}\n' % hashlib.sha256(b"%d" % i).hexdigest().encode() for i in range(4000)
    )
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(lines)[:-5000])
    *documents, last = read(tmp_path / "d.jsonl.gz")
    assert len(documents) > 1000
    assert isinstance(last, Rejected)
    assert "can't be read" in last.reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.json", '[\n{"text": "x"}]', "one JSON list"),
        ("d.csv", "", "empty"),
        ("d.csv", "id,body\n", "no column 'text'"),
        ("d.csv", "text,text\n", "twice"),
        ("d.pdf", "x", "no kind"),
        ("folder/d.pdf", "x", "no .txt"),
        ("nothing", None, "no kind"),
    ],
)
def test_a_source_that_is_wrong_as_a_whole(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content or "")
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(path.parent if path.parent != tmp_path else path)
    assert caught.value.next_step


def test_missing_source() -> None:
    with pytest.raises(InvalidInputError, match="no file or folder"):
        DocumentSource("/nowhere/at/all.jsonl")


def test_lines_split_at_line_feeds_only() -> None:
    text = "\ufeffone\r\ntwo\u2028still two\x85\x0bhere\rand here\n\nlast"
    lines = [line.raw.decode() for line in read_lines(io.BytesIO(text.encode()))]
    assert lines == ["one", "two\u2028still two\x85\x0bhere\rand here", "", "last"]


def test_lines_that_are_too_long_are_passed_over() -> None:
    lines = list(read_lines(io.BytesIO(b"ab\n" + b"x" * 25 + b"\ncd\n" + b"y" * 30), maximum_bytes=10))
    assert [(line.number, line.raw, line.error is None) for line in lines] == [
        (1, b"ab", True),
        (2, b"", False),
        (3, b"cd", True),
        (4, b"", False),
    ]


def test_progress_of_a_file(tmp_path: Path) -> None:
    source = DocumentSource(write(tmp_path / "d.jsonl", *({"text": f"document {i}"} for i in range(50))))
    assert source.fraction is None
    assert len(list(source)) == 50
    assert source.fraction == 1.0
