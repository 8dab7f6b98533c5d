from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read, write_lines

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def test_json_lines(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "d.jsonl", {"id": 7, "text": "one", "lang": "en", "n": [1]}, "", {"text": "zwei"}
    )
    assert read(path) == [
        Document("7", "one", {"lang": "en", "n": [1]}),
        Document(hashlib.sha256(b"zwei").hexdigest(), "zwei", {}),
    ]


def test_a_line_separator_within_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "a", "text": "one\u2028two\x85three"}\n', encoding="utf-8")
    assert read(path) == [Document("a", "one\u2028two\x85three", {})]


def test_other_fields_by_name(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "d.ndjson", {"key": "a", "body": "one", "id": "kept"})
    assert read(path, text_field="body", id_field="key") == [Document("a", "one", {"id": "kept"})]


def test_text_field_as_id_field(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "d.jsonl", {"text": "one"})
    assert read(path, id_field="text") == [Document(hashlib.sha256(b"one").hexdigest(), "one", {})]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "one", "id": "1"}')))
    assert read("-") == [Document("1", "one", {})]


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
def test_a_bad_record_is_reported_and_the_rest_goes_on(
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


def test_damaged_gz_keeps_what_could_be_read(tmp_path: Path) -> None:
    lines = b"".join(
        b'{"text": "%s"}\n' % hashlib.sha256(b"%d" % i).hexdigest().encode() for i in range(4000)
    )
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(lines)[:-5000])
    *documents, last = read(tmp_path / "d.jsonl.gz")
    assert len(documents) > 1000
    assert isinstance(last, Rejected)
    assert "can't be read" in last.reason


def test_a_json_list_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[\n{"text": "x"}]')
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path / "d.json")
    assert caught.value.message == "d.json holds one JSON list, not one JSON object a line."
    assert caught.value.next_step.endswith("jq -c '.[]' d.json > documents.jsonl")
