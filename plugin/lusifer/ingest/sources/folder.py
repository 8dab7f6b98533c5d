"""Reads a folder of text files, one document a file."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lusifer.errors import InvalidInputError, InvalidTextError
from lusifer.ingest.encoding import HEAD_BYTES, detect_encoding
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES, Line, decode_utf8
from lusifer.ingest.sources.base import DocumentBuilder, PathReader, Record, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TEXT_SUFFIXES", "FolderReader", "files_of", "text_record"]

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
        self._skipped: Counter[str] = Counter()
        self._encodings: Counter[str] = Counter()

    def has_texts(self) -> bool:
        """Return whether the folder has a file that is read."""
        return any(True for _ in _text_files(self.path))

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
        self._encodings.clear()
        self._skipped = Counter(
            path.suffix.lower() or "without an ending"
            for path in files_of(self.path)
            if path.suffix.lower() not in TEXT_SUFFIXES
        )
        total = sum(1 for _ in _text_files(self.path))
        if total == 0:
            raise InvalidInputError(
                f"{self.path} holds no .txt or .md file{self._of_others()}.",
                next_step="Name another folder, or a .jsonl or .csv file.",
            )
        self._done, self._total = 0, total
        for path in _text_files(self.path):
            yield self._record(path, path.relative_to(self.path).as_posix())
            self._done += 1

    @property
    def notes(self) -> list[str]:
        """How many files were skipped, by their ending, and what was not read as UTF-8."""
        notes = [
            f"{count:,} files were read as {encoding}."
            for encoding, count in sorted(self._encodings.items())
        ]
        if self._skipped:
            notes.append(
                f"{self.path}: {self._skipped.total():,} files were skipped{self._of_others()}."
            )
        return notes

    def _of_others(self) -> str:
        """Return the files that are not read, counted by their ending."""
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self._skipped.most_common(10))
        return f" ({counts})" if counts else ""

    def _record(self, path: Path, name: str) -> Record:
        where = name.encode("utf-8", "backslashreplace").decode()
        if not path.is_file():
            return Rejected(
                where, "It is not a regular file.", "Replace it with a file, or remove it."
            )
        try:
            with path.open("rb") as file:
                return text_record(file, name, self.builder, self._encodings)
        except OSError as error:
            return Rejected(
                where, f"It can't be read: {error.strerror}.", "Check the file's permissions."
            )


def text_record(
    file: IO[bytes], name: str, builder: DocumentBuilder, encodings: Counter[str]
) -> Record:
    """Return the document of a text file, in any encoding.

    Args:
        file: The file.
        name: Path that becomes the document's id.
        builder: Builds the document.
        encodings: Counts the encodings other than UTF-8.
    """
    where = name.encode("utf-8", "backslashreplace").decode()
    raw = file.read(MAXIMUM_LINE_BYTES + 1)
    if len(raw) > MAXIMUM_LINE_BYTES:
        reason = f"It has more than {MAXIMUM_LINE_BYTES} bytes."
        return Rejected(where, reason, "Split it into several files.")
    encoding = detect_encoding(raw[:HEAD_BYTES])
    try:
        if encoding in {"utf-8", "utf-8-sig"}:
            text = decode_utf8(Line(1, raw.removeprefix(BOM_UTF8)))
        else:
            text = raw.decode(encoding)
            encodings[encoding] += 1
    except InvalidTextError as error:
        return Rejected(where, error.message, error.next_step)
    except UnicodeDecodeError as error:
        return Rejected(
            where, f"It is not {encoding}: {error.reason}.", "Save the source as UTF-8."
        )
    return builder.from_text(name, text, {"path": name}, where)


def _text_files(folder: Path) -> Iterator[Path]:
    return (path for path in files_of(folder) if path.suffix.lower() in TEXT_SUFFIXES)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder by name, then those of its folders, except of hidden ones."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            yield Path(where, name)
