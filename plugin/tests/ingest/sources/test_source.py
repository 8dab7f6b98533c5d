from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.tests.source_files import read, write_lines, write_parquet

import lusifer
from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
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
