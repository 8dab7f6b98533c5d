"""Queries of the quality gate: made from documents, or read from a file of a team's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError
from lusifer.ingest.line_reader import decode_utf8, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.ingest.line_reader import Line
    from lusifer.reindex.endpoints.base import Record, Source

__all__ = ["GateQuery", "query_from", "read_queries"]

_WORDS = 12
"""Words of a query made from a text."""
_CHARACTERS = 48
"""Characters of a query made from a text in a script without spaces."""


@dataclass(frozen=True)
class GateQuery:
    """A query, and the document that answers it, if one is known."""

    text: str
    language: str
    key: str | None
    """Key of the answer."""
    tenant: str = ""
    """Tenant to search; empty without tenants."""

    @property
    def tenant_key(self) -> str:
        """Key of the answer, or one that only names the tenant."""
        return self.key or (f"{self.tenant}/" if self.tenant else "")


def query_from(record: Record[object]) -> GateQuery:
    """Make a query from a document's title, or from the first words of its text."""
    if record.title.strip():
        return GateQuery(record.title, record.language, record.key)
    words = record.text.split()
    text = " ".join(words[:_WORDS]) if len(words) > _WORDS // 2 else record.text[:_CHARACTERS]
    return GateQuery(text.strip(), record.language, record.key)


def read_queries(path: Path, endpoint: Source[object]) -> list[GateQuery]:
    """Read queries from JSON lines: ``text``, and where known ``lang`` and ``id`` of the answer.

    In a collection with tenants, each query names its ``tenant``.

    Args:
        path: The file.
        endpoint: Collection that holds the answers.

    Raises:
        InvalidInputError: The file can't be read, or a line is no query.
    """
    try:
        with path.open("rb") as file:
            return [
                _query(line, path, endpoint)
                for line in read_lines(file)
                if line.error is not None or line.raw.strip()
            ]
    except OSError as error:
        raise InvalidInputError(
            f"The queries {path} can't be read: {error}.",
            next_step="Name a file of JSON lines, in UTF-8.",
        ) from error


def _query(line: Line, path: Path, endpoint: Source[object]) -> GateQuery:
    try:
        fields = json.loads(decode_utf8(line))
        text = fields["text"]
    except (InvalidInputError, ValueError, KeyError, TypeError) as error:
        reason = error.message if isinstance(error, InvalidInputError) else f"{error}."
        raise InvalidInputError(
            f"{path} line {line.number} is no query: {reason}",
            next_step='Write lines such as {"text": "…", "lang": "de", "id": "…"}.',
        ) from error
    answer = fields.get("id")
    tenant = str(fields.get("tenant", ""))
    key = None if answer is None else endpoint.key_of(str(answer), tenant)
    return GateQuery(str(text), str(fields.get("lang", "")), key, tenant)
