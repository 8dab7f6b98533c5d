"""Reads a folder of text files, one document a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError, InvalidTextError
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES, Line, decode_utf8
from lusifer.ingest.sources.base import DocumentBuilder, PathReader, Record, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TEXT_SUFFIXES", "FolderReader"]

TEXT_SUFFIXES = frozenset({".txt", ".md"})
"""Endings of the files that are read."""


class FolderReader(PathReader):
    """Reads the text files of a folder and of its folders, except in hidden ones.

    The id of a document is the relative path of its file, which is its metadata ``path`` too.
    """

    def __init__(self, path: Path, builder: DocumentBuilder) -> None:
        super().__init__(path, builder)
        self._done = 0
        self._total: int | None = None

    @property
    def fraction(self) -> float | None:
        """Share of the files that were read, from 0 to 1; None before the first."""
        return None if self._total is None else min(1.0, self._done / self._total)

    def __iter__(self) -> Iterator[Record]:
        """Yield a record for each file: those of a folder by name, then those of its folders.

        Raises:
            InvalidInputError: The folder holds no text file.
        """
        self._total = None
        total = sum(1 for _ in _text_files(self.path))
        if total == 0:
            raise InvalidInputError(
                f"{self.path} holds no .txt or .md file.",
                next_step="Name another folder, or a .jsonl or .csv file.",
            )
        self._done, self._total = 0, total
        for path in _text_files(self.path):
            yield self._record(path, path.relative_to(self.path).as_posix())
            self._done += 1

    def _record(self, path: Path, name: str) -> Record:
        where = name.encode("utf-8", "backslashreplace").decode()
        if not path.is_file():
            return Rejected(
                where, "It is not a regular file.", "Replace it with a file, or remove it."
            )
        try:
            with path.open("rb") as file:
                raw = file.read(MAXIMUM_LINE_BYTES + 1)
        except OSError as error:
            return Rejected(
                where, f"It can't be read: {error.strerror}.", "Check the file's permissions."
            )
        if len(raw) > MAXIMUM_LINE_BYTES:
            reason = f"It has more than {MAXIMUM_LINE_BYTES} bytes."
            return Rejected(where, reason, "Split it into several files.")
        try:
            text = decode_utf8(Line(1, raw))
        except InvalidTextError as error:
            return Rejected(where, error.message, error.next_step)
        return self.builder.from_text(name, text, {"path": name}, where)


def _text_files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in TEXT_SUFFIXES:
                yield Path(where, name)
