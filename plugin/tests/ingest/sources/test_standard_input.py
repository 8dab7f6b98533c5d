from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import read

from lusifer.ingest.sources.source import DocumentSource
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n',
        b'\xef\xbb\xbf\n {"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n',
        b"id,text\n1,one\n2,two\n",
        "id;text\n1;one\n2;two\n".encode("utf-16"),
    ],
)
def test_json_lines_or_csv(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert read("-") == [Document("1", "one", {}), Document("2", "two", {})]


def test_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert read("-") == []


@pytest.mark.parametrize(
    "lines", [[b'{"text": "a"}\n', b'{"text": "b"}\n'], [b"text\na\n", b"b\n"]]
)
def test_a_slow_pipe_gives_what_is_there(
    monkeypatch: pytest.MonkeyPatch, lines: list[bytes]
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as other_end:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
        other_end.write(lines[0])
        documents: Iterator[object] = iter(DocumentSource("-"))
        first = next(documents)
        assert isinstance(first, Document)
        assert first.text == "a"
        other_end.write(lines[1])
        other_end.close()
        assert [each.text for each in documents if isinstance(each, Document)] == ["b"]
