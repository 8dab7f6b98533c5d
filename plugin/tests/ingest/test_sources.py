from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import lusifer
from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.line_reader import read_lines
from lusifer.ingest.sources.source import DocumentSource, Rejected
from lusifer.types import Document

PLUGIN = Path(lusifer.__file__).parents[1]


def read(source: Path | str, **options: str) -> list[Document | Rejected]:
    return list(DocumentSource(source, **options))


def write(path: Path, *records: Any) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl", {"id": 7, "text": "one", "lang": "en", "n": [1]}, "", {"text": "zwei"}
    )
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
def test_a_bad_record_is_told_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, reason: str | None
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(
        b'{"text": "first", "id": "good"}\n' + line + b'\n{"text": "last", "id": "last"}\n'
    )
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
    lines = list(
        read_lines(io.BytesIO(b"ab\n" + b"x" * 25 + b"\ncd\n" + b"y" * 30), maximum_bytes=10)
    )
    assert [(line.number, line.raw, line.error is None) for line in lines] == [
        (1, b"ab", True),
        (2, b"", False),
        (3, b"cd", True),
        (4, b"", False),
    ]


def test_progress_of_a_file(tmp_path: Path) -> None:
    source = DocumentSource(
        write(tmp_path / "d.jsonl", *({"text": f"document {i}"} for i in range(50)))
    )
    assert source.fraction is None
    assert len(list(source)) == 50
    assert source.fraction == 1.0


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path, **options)
    return path


def test_parquet_values_come_as_json_has_them(tmp_path: Path) -> None:
    path = parquet(
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


def test_parquet_rows_that_can_not_be_indexed_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = parquet(
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
    path = parquet(tmp_path / "d.parquet", {"body": [7]})
    with pytest.raises(InvalidInputError, match="no column 'text'; its columns are body"):
        read(path)
    (rejected,) = read(path, text_field="body")
    assert isinstance(rejected, Rejected)
    assert "holds a int, not a text" in rejected.reason


def test_damaged_parquet_is_told(tmp_path: Path) -> None:
    path = parquet(
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
    path = parquet(tmp_path / "d.parquet", {"text": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow") as caught:
        read(path)
    assert "lusifer[parquet]" in caught.value.next_step


PEAK = """
import json, resource, sys
from lusifer.ingest.sources.source import DocumentSource
peaks = []
for path in sys.argv[1:]:
    assert all(document.text for document in DocumentSource(path))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another elsewhere")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_source(kind: str, tmp_path: Path) -> None:
    """64 MB after 4 MB; of Parquet in one row group, which is the worst that a file can be."""

    def source(megabytes: int) -> str:
        texts = [os.urandom(16_000).hex() for _ in range(megabytes * 32)]
        path = tmp_path / f"{megabytes}.{kind}"
        if kind == "parquet":
            parquet(path, {"text": texts}, row_group_size=len(texts))
        elif kind == "csv":
            path.write_text("text\n" + "".join(f"{text}\n" for text in texts))
        else:
            write(path, *({"text": text} for text in texts))
        return str(path)

    done = subprocess.run(
        [sys.executable, "-c", PEAK, source(4), source(64)],
        env={**os.environ, "PYTHONPATH": str(PLUGIN)},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = json.loads(done.stdout)
    assert large - small < 32
