from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import MemoryEndpoint

from lusifer.errors import InvalidInputError
from lusifer.reindex.endpoints.base import Record
from lusifer.reindex.gate_queries import GateQuery, query_from, read_queries

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("title", "text", "query"),
    [
        ("A title", "text", "A title"),
        (" ", "one two three four five six seven", "one two three four five six seven"),
        ("", " ".join(map(str, range(20))), "0 1 2 3 4 5 6 7 8 9 10 11"),
        ("", "six words are not seven words", "six words are not seven words"),
        # Six words may be a script without spaces, so the first 48 characters are taken.
        ("", " ".join(["abcdefghi"] * 6), "abcdefghi abcdefghi abcdefghi abcdefghi abcdefgh"),
        # A script without spaces: the first 48 characters.
        ("", "猫" * 60, "猫" * 48),
    ],
)
def test_a_query_is_the_title_or_the_first_words(title: str, text: str, query: str) -> None:
    record = Record("k", "sha", text, "ja", title, None)
    assert query_from(record) == GateQuery(query, "ja", "k")


def test_queries_are_read_from_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    lines = [
        {"text": "ein Satz\u2028mit Zeilentrenner", "lang": "de", "id": "d1"},
        {"text": "no answer"},
        {"text": "in a tenant", "id": 7, "tenant": "t"},
        {"text": "only a tenant", "tenant": "t"},
    ]
    content = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    queries = read_queries(path, MemoryEndpoint())
    assert queries == [
        GateQuery("ein Satz\u2028mit Zeilentrenner", "de", "d1"),
        GateQuery("no answer", "", None),
        GateQuery("in a tenant", "", "t/7", "t"),
        GateQuery("only a tenant", "", None, "t"),
    ]
    assert [query.tenant_key for query in queries] == ["d1", "", "t/7", "t/"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "'text'."),
        (b"[1]", "list indices must be integers or slices, not str."),
        (b"nonsense", "Expecting value: line 1 column 1 (char 0)."),
        (b'{"text": "\xff"}', "The text is not UTF-8: byte 0xFF"),
    ],
)
def test_a_line_that_is_no_query_is_named(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"text": "right"}\n\n' + line + b"\n")
    with pytest.raises(InvalidInputError) as refused:
        read_queries(path, MemoryEndpoint())
    assert refused.value.message.startswith(f"{path} line 3 is no query: {reason}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="can't be read"):
        read_queries(tmp_path / "absent", MemoryEndpoint())
