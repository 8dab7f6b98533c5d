from __future__ import annotations

import io

import pytest

from lusifer.errors import InvalidTextError
from lusifer.ingest.line_reader import Line, decode_utf8, read_lines


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


def test_the_error_of_a_long_line_names_both_sizes() -> None:
    (line,) = read_lines(io.BytesIO(b"x" * 25), maximum_bytes=10)
    with pytest.raises(InvalidTextError) as caught:
        decode_utf8(line)
    assert caught.value.message == "The line has 25 bytes, at most 10 are read."
    assert caught.value.next_step == "Split it into several lines."


def test_a_line_that_is_not_utf_8() -> None:
    assert decode_utf8(Line(1, "é\u2028".encode())) == "é\u2028"
    with pytest.raises(InvalidTextError) as caught:
        decode_utf8(Line(3, b"caf\xe9"))
    assert caught.value.message == "The text is not UTF-8: byte 0xE9 at position 3 of 4 bytes."
