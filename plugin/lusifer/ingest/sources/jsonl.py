"""Reads JSON lines: one JSON object a line."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, NoReturn

from lusifer.errors import InvalidInputError, InvalidTextError
from lusifer.ingest.line_reader import Line, decode_utf8, read_lines
from lusifer.ingest.sources.base import (
    UNREADABLE,
    DocumentBuilder,
    FileReader,
    Record,
    Rejected,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["JsonLinesReader", "read_json_lines"]


class JsonLinesReader(FileReader):
    """Reads a file ``.jsonl``, ``.ndjson`` or ``.json``."""

    def read(self, file: IO[bytes], name: str) -> Iterator[Record]:
        """Yield the records of an open file."""
        return read_json_lines(file, name, self.builder)


def read_json_lines(file: IO[bytes], name: str, builder: DocumentBuilder) -> Iterator[Record]:
    """Yield a record for each line that is not blank.

    Raises:
        InvalidInputError: The file holds one JSON list.
    """
    number, first = 0, True
    lines = read_lines(file)
    while True:
        try:
            line = next(lines, None)
        except UNREADABLE as error:
            yield unreadable(f"{name} after line {number}", error)
            return
        if line is None:
            return
        number = line.number
        if line.error is None and not line.raw.strip():
            continue
        if first and line.raw.lstrip().startswith(b"["):
            raise InvalidInputError(
                f"{name} holds one JSON list, not one JSON object a line.",
                next_step=f"Convert it, for example with: jq -c '.[]' {name} > documents.jsonl",
            )
        first = False
        yield _record(line, f"{name} line {number}", builder)


def _record(line: Line, where: str, builder: DocumentBuilder) -> Record:
    try:
        fields = json.loads(decode_utf8(line), parse_constant=_refuse_constant)
    except InvalidTextError as error:
        return Rejected(where, error.message, error.next_step)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        return Rejected(where, f"The line is not JSON: {reason}.", "Write one JSON object a line.")
    if not isinstance(fields, dict):
        reason = f"The line holds a {type(fields).__name__}, not a JSON object."
        return Rejected(where, reason, "Write one JSON object a line.")
    return builder.from_fields(fields, where)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
