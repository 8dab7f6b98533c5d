from __future__ import annotations

import bz2
import gzip
import json
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read, write_lines, write_parquet

from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def ids(items: list[Document | Rejected]) -> list[str]:
    return [item.id if isinstance(item, Document) else item.where for item in items]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
@pytest.mark.parametrize("name", ["d.jsonl", "d.csv"])
def test_packed_files(
    tmp_path: Path, name: str, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    raw = b'{"id": "a", "text": "one"}\n' if name == "d.jsonl" else b"id,text\na,one\n"
    (tmp_path / f"{name}.{ending}").write_bytes(pack(raw) + pack(raw[raw.index(b"\n") + 1 :]))
    items = read(tmp_path / f"{name}.{ending}")
    assert ids(items)[0] == "a"
    (tmp_path / f"{name}.{ending}").write_bytes(pack(raw)[:-6])
    assert isinstance(read(tmp_path / f"{name}.{ending}")[-1], Rejected)


def test_zstandard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "d.jsonl.zst"
    rows = "".join(json.dumps({"id": f"d{i}", "text": f"text {i}"}) + "\n" for i in range(20_000))
    with arrow.CompressedOutputStream(str(path), "zstd") as packed:
        packed.write(rows.encode())
    assert ids(read(path)) == [f"d{i}" for i in range(20_000)]
    path.write_bytes(path.read_bytes()[:5000])
    assert isinstance(read(path)[-1], Rejected)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"Files \.zst need pyarrow"):
        read(path)


def test_a_folder_of_records_with_hive_partitions(tmp_path: Path) -> None:
    for year, lang in (("2023", "de"), ("2024", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}" / f"lang={lang}"
        folder.mkdir(parents=True)
        write_parquet(folder / "part-0.parquet", {"id": [f"p{year}"], "text": [f"text {year}"]})
        (folder / "_SUCCESS").write_text("")
        (folder / ".part-0.parquet.crc").write_text("")
    write_lines(tmp_path / "more.jsonl", {"id": "x", "text": "x", "year": 1999})
    (tmp_path / "odd%20name=a%2Fb").mkdir()
    (tmp_path / "odd%20name=a%2Fb" / "d.csv").write_text("id,text\ny,y\n")
    (tmp_path / "package.json").write_text("{\n}\n")
    (tmp_path / "z.pdf").write_text("x")
    source = DocumentSource(tmp_path)
    assert {each.id: each.metadata for each in source if isinstance(each, Document)} == {
        "x": {"year": 1999},
        "y": {"odd name": "a/b"},
        "p2023": {"year": "2023", "lang": "de"},
        "p2024": {"year": "2024"},
    }
    assert source.notes == [f"{tmp_path}: 2 files were skipped (1 .json, 1 .pdf)."]
    assert source.fraction == 1.0
    pattern = DocumentSource(str(tmp_path / "**" / "*.parquet"))
    assert [each.metadata["year"] for each in pattern if isinstance(each, Document)] == [
        "2023",
        "2024",
    ]


def test_several_sources_make_one(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", {"id": "1", "text": "one"})
    second = tmp_path / "b.csv"
    second.write_text("id;text\n2;two\n1;other\n")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "n.txt").write_text("three")
    source = DocumentSource([first, second, notes])
    items = list(source)
    assert ids(items) == ["1", "2", "b.csv line 3", "n.txt"]
    assert source.fraction == 1.0
    assert source.notes == ["b.csv: its columns are separated by ';'."]


def test_a_file_that_can_not_be_read_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("id,body\n1,one\n")
    write_lines(tmp_path / "good.jsonl", {"id": "a", "text": "one"})
    bad, good = read(tmp_path)
    assert isinstance(bad, Rejected)
    assert (bad.where, bad.reason) == (
        "bad.csv",
        "bad.csv has no column 'text'; its columns are 'id', 'body'.",
    )
    assert good == Document("a", "one", {})


def test_a_pattern_that_nothing_matches(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no file or folder"):
        DocumentSource(str(tmp_path / "*.jsonl"))


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def test_an_archive_of_records(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "d.zip",
        {
            "a.jsonl": b'{"id": "1", "text": "one"}\n',
            "in/b.csv.gz": gzip.compress(b"id;text\n2;two\n"),
            "c.csv": b"id,body\n3,three\n",
            "d.parquet": b"PAR1",
            "__MACOSX/a.jsonl": b"x",
            ".hidden/a.jsonl": b"x",
        },
    )
    source = DocumentSource(path)
    one, bad, two = source
    assert (one, two) == (Document("1", "one", {}), Document("2", "two", {}))
    assert isinstance(bad, Rejected)
    assert bad.where == "c.csv"
    assert source.fraction == 1.0
    assert source.notes == [
        "in/b.csv.gz: its columns are separated by ';'.",
        "d.zip: 1 files were skipped (1 .parquet).",
    ]


def test_an_archive_of_texts(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.zip", {"a.txt": "Größe".encode("utf-16"), "b/c.md": b"two"})
    assert read(path) == [
        Document("a.txt", "Größe", {"path": "a.txt"}),
        Document("b/c.md", "two", {"path": "b/c.md"}),
    ]


def test_archives_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="can't be opened"):
        read(tmp_path / "no.zip")
    with pytest.raises(InvalidInputError, match="holds no file that can be read"):
        read(archive(tmp_path / "d.zip", {"a.pdf": b"x"}))
    path = archive(tmp_path / "cut.zip", {"a.txt": b"text " * 1000, "b.txt": b"whole"})
    raw = bytearray(path.read_bytes())
    raw[40:60] = bytes(20)
    path.write_bytes(raw)
    damaged, whole = read(path)
    assert isinstance(damaged, Rejected)
    assert isinstance(whole, Document)
