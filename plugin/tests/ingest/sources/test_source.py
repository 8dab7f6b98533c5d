from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.tests.small_disk import small_disk
from plugin.tests.source_files import read, write_lines, write_parquet

import lusifer
from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer.stores.fields import FieldRules
from lusifer.types import Document

PLUGIN = Path(lusifer.__file__).parents[1]


@pytest.mark.parametrize("name", ["d.pdf", "nothing", "d.parquet.gz"])
def test_a_file_of_no_known_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(InvalidInputError) as caught:
        DocumentSource(tmp_path / name)
    assert caught.value.message == f"{tmp_path / name} has no format that can be indexed."


def test_missing_source() -> None:
    with pytest.raises(InvalidInputError, match="no file or folder"):
        DocumentSource("/nowhere/at/all.jsonl")


@pytest.mark.parametrize("name", ["d.jsonl", "d.ndjson", "d.json", "D.JSONL", "d.jsonl.gz"])
def test_the_ending_of_the_name_says_the_format(tmp_path: Path, name: str) -> None:
    line = b'{"id": "a", "text": "one"}\n'
    (tmp_path / name).write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
    assert read(tmp_path / name) == [Document("a", "one", {})]


def test_an_id_of_two_texts_is_rejected_in_each_iteration(tmp_path: Path) -> None:
    source = DocumentSource(
        write_lines(
            tmp_path / "d.jsonl",
            {"id": "a", "text": "one"},
            {"id": "a", "text": "one"},
            {"id": "a", "text": "two"},
        )
    )
    rejected = Rejected(
        "d.jsonl line 3",
        "The id 'a' was used before in this source, with another text or other fields.",
        "Give each document its own id, or name another field with --id-field (now 'id').",
    )
    one = Document("a", "one", {})
    assert list(source) == list(source) == [one, one, rejected]


def test_the_same_text_with_other_fields_is_another_document(tmp_path: Path) -> None:
    records = [{"text": "one", "lang": "en"}, {"text": "one", "lang": "de"}, {"text": "one"}]
    path = write_lines(tmp_path / "d.jsonl", *records, records[0])
    found = [each for each in read(path) if isinstance(each, Document)]
    assert [each.metadata for each in found] == [{"lang": "en"}, {"lang": "de"}, {}, {"lang": "en"}]
    assert len({each.id for each in found}) == 3
    assert found[2].id == hashlib.sha256(b"one").hexdigest()


def test_an_id_field_that_no_record_has_is_an_error(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "d.jsonl", *({"text": f"t{n}", "number": n} for n in range(1500)), {"text": "x"}
    )
    with pytest.raises(InvalidInputError) as caught:
        next(iter(DocumentSource(path, id_field="nummer")))
    assert caught.value.message == (
        f"None of the first 1,000 records of {path} has the field 'nummer'; the first has 'text', "
        "'number'."
    )
    documents = [each for each in read(path, id_field="number") if isinstance(each, Document)]
    assert [each.id for each in documents[:2]] == ["0", "1"]
    assert len(documents) == 1501, "a record without an id among others gets one"
    table = tmp_path / "d.csv"
    table.write_text("number,text\n1,one\n")
    with pytest.raises(InvalidInputError, match="has the field 'nummer'"):
        read(table, id_field="nummer")


def test_a_full_disk_for_temporary_files(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "d.jsonl", *({"text": f"document {n}"} for n in range(40_000)))
    code = """
import sys
from lusifer.common import disk_map
from lusifer.errors import StorageFullError
disk_map._CACHE_KIB = 100
from lusifer.ingest.sources.source import DocumentSource
try:
    list(DocumentSource(sys.argv[1]))
except StorageFullError as error:
    print(error.message, error.next_step)
"""
    with small_disk(tmp_path / "disk", "1m") as disk:
        (disk / "ballast").write_bytes(bytes(900_000))
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONPATH": str(PLUGIN), "SQLITE_TMPDIR": str(disk)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No space is left for a temporary file of SQLite")
    assert "SQLITE_TMPDIR" in done.stdout


def test_progress_of_a_file(tmp_path: Path) -> None:
    source = DocumentSource(
        write_lines(tmp_path / "d.jsonl", *({"text": f"document {i}"} for i in range(50)))
    )
    assert source.fraction is None
    assert len(list(source)) == 50
    assert source.fraction == 1.0


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
            write_parquet(path, {"text": texts}, row_group_size=len(texts))
        elif kind == "csv":
            path.write_text("text\n" + "".join(f"{text}\n" for text in texts))
        else:
            write_lines(path, *({"text": text} for text in texts))
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


def _packed(head: bytes, part: bytes, times: int) -> bytes:
    """Return a gzip file of many members, each made once."""
    return gzip.compress(head) + gzip.compress(part, 1) * times


MIB = 2**20
BOMBS = {
    # A quarter of a gigabyte each, from files of 300 kB to 1 MB.
    "one line.csv.gz": (lambda: _packed(b"id,text\na,one\n", b"x" * 8 * MIB, 32), ["a"]),
    "one quote.csv.gz": (
        lambda: _packed(b'id,text\na,one\nb,"', (b"x" * 2**19 + b"\n") * 16, 32),
        ["a"],
    ),
    "one line.jsonl.gz": (
        lambda: _packed(b'{"id": "a", "text": "one"}\n{"text": "', b"x" * 8 * MIB, 32),
        ["a"],
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another elsewhere")
@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_packed_file_takes_no_more_memory_than_a_record_may(name: str, tmp_path: Path) -> None:
    make, ids = BOMBS[name]
    (tmp_path / name).write_bytes(make())
    assert (tmp_path / name).stat().st_size < 4 * MIB
    found, rejected, growth = _read_in_a_process(tmp_path / name)
    assert found == ids
    assert rejected
    assert f"{name} line {2 if 'json' in name else 3}" in rejected[0][0]
    assert growth < 160 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another elsewhere")
@pytest.mark.parametrize("dictionary", [True, False])
def test_cells_of_a_small_parquet_file_take_no_more_memory_than_a_record_may(
    dictionary: bool, tmp_path: Path
) -> None:
    """24 cells of 17 MB, from a file of some kilobytes, beside those that are read."""
    cells = ["small", *["x" * 17_000_000] * 24, "y" * 10_000_000, "last"]
    path = write_parquet(
        tmp_path / "d.parquet",
        {"id": [str(number) for number in range(len(cells))], "text": cells},
        use_dictionary=dictionary,
        compression="zstd",
        write_batch_size=1,  # a page for each cell
    )
    assert path.stat().st_size < MIB
    found, rejected, growth = _read_in_a_process(path)
    assert found == ["0", "25", "26"]
    assert [where for where, _ in rejected] == [f"d.parquet row {row}" for row in range(2, 26)]
    assert "17000004 of them in the column 'text'" in rejected[0][1]
    assert growth < 160 * MIB


def test_a_parquet_page_that_is_too_large_is_not_unpacked(tmp_path: Path) -> None:
    cells = ["x" * 300_000_000]
    path = write_parquet(tmp_path / "d.parquet", {"text": cells}, compression="zstd")
    found, rejected, growth = _read_in_a_process(path)
    assert found == []
    ((where, reason),) = rejected
    assert where == "d.parquet after row 0"
    assert "300000004 bytes, at most 268435456 are read" in reason
    assert growth < 32 * MIB


READ = """
import json, resource, sys
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
small, path = sys.argv[1:]
list(DocumentSource(small))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ids, rejected = [], []
for document in DocumentSource(path):
    if isinstance(document, Rejected):
        rejected.append((document.where, document.reason))
    else:
        ids.append(document.id)
growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps([ids, rejected, growth]))
"""


def _read_in_a_process(path: Path) -> tuple[list[str], list[list[str]], int]:
    """Return the ids, the rejections, and the bytes that the peak grew by."""
    small = path.parent / "small.parquet"
    write_parquet(small, {"text": ["one"]}, compression="zstd")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(small), str(path)],
        env={**os.environ, "PYTHONPATH": str(PLUGIN)},
        capture_output=True,
        text=True,
        check=True,
    )
    ids, rejected, growth = json.loads(done.stdout)
    return ids, rejected, growth


def test_fields_that_rules_name_and_no_record_has_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(
        '{"id": "1", "title": "T", "year": 1, "old": 2, "new": 3, "in": {"a": 1}}\n'
        '{"id": "2", "title": "U", "old": 2}\n'
    )
    rules = FieldRules(
        template="{title} {titel}",
        drop=frozenset({"in.a", "yaer"}),
        rename={"old": "new", "x": "y"},
    )
    source = DocumentSource(path, rules=rules)
    first, second = source
    assert isinstance(first, Rejected)
    assert first.where == "d.jsonl line 1"
    assert "'old' is to be renamed to 'new', and there is such a field" in first.reason
    assert isinstance(second, Document)
    assert second.metadata == {"title": "U", "new": 2}
    assert source.notes == [
        "No record that was read has the field 'titel', which --template names.",
        "No record that was read has the field 'x', which --rename names.",
        "No record that was read has the field 'yaer', which --drop names.",
    ]
