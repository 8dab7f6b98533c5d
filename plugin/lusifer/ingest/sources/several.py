"""Reads several files as one source: those of a folder, of a pattern or of an archive."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import PurePath
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import UNREADABLE, Record, Rejected, unreadable
from lusifer.ingest.sources.folder import TEXT_SUFFIXES, files_of, text_record
from lusifer.ingest.sources.formats import kind_of, reader_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lusifer.ingest.sources.base import DocumentBuilder, Reader
    from lusifer.types import JSON

__all__ = ["SeveralReader", "ZipReader", "partition_of", "record_readers", "skipped_note"]

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class SeveralReader:
    """Reads one source after the other; one that can't be read as a whole costs itself only.

    Args:
        readers: Name and reader of each source.
        skipped: Note on files that are not read; empty where there are none.
    """

    def __init__(self, readers: Sequence[tuple[str, Reader]], skipped: str = "") -> None:
        self._readers = readers
        self._skipped = skipped
        self._done = 0

    @property
    def fraction(self) -> float | None:
        """Share of the sources that was read, from 0 to 1, each counted alike."""
        if self._done == len(self._readers):
            return 1.0
        within = self._readers[self._done][1].fraction or 0.0
        return (self._done + within) / len(self._readers)

    @property
    def notes(self) -> list[str]:
        """Notes of all sources."""
        notes = [note for _, reader in self._readers for note in reader.notes]
        return [*notes, self._skipped] if self._skipped else notes

    def __iter__(self) -> Iterator[Record]:
        """Yield the records of all sources, in their order."""
        for done, (name, reader) in enumerate(self._readers):
            self._done = done
            try:
                yield from reader
            except InvalidInputError as error:
                yield Rejected(name, error.message, error.next_step)
        self._done = len(self._readers)


def record_readers(folder: Path, builder: DocumentBuilder) -> SeveralReader | None:
    """Return the reader of a folder's JSON lines, CSV and Parquet; None where it has none.

    Files whose name begins with ``_`` are those of the program that wrote the folder. Folders
    ``NAME=VALUE`` give their files a field, as Hive and Spark partition their data.
    """
    readers: list[tuple[str, Reader]] = []
    skipped: Counter[str] = Counter()
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith(("_", ".")):
            continue
        # A lone .json is rather a configuration than JSON lines; named by itself it is read.
        found = None if path.suffix.lower() == ".json" else reader_class(path.name)
        if found is None:
            skipped[kind_of(path.name)] += 1
            continue
        readers.append((name, found(path, replace(builder, partition=partition_of(name)), name)))
    return SeveralReader(readers, skipped_note(str(folder), skipped)) if readers else None


def skipped_note(where: str, skipped: Counter[str]) -> str:
    """Return a sentence on files that are not read, by their endings; empty without any."""
    counts = ", ".join(f"{count:,} {kind}" for kind, count in skipped.most_common(10))
    return f"{where}: {skipped.total():,} files were skipped ({counts})." if skipped else ""


def partition_of(name: str) -> dict[str, JSON]:
    """Return the fields that the folders of a path give, such as ``year=2024/``."""
    pairs = (part.partition("=") for part in PurePath(name).parts[:-1])
    return {
        unquote(key): unquote(value)
        for key, separator, value in pairs
        if key and separator and value != _NO_VALUE
    }


class ZipReader:
    """Reads the files of an archive ``.zip`` as those of a folder; Parquet in it is not read."""

    def __init__(self, path: Path, builder: DocumentBuilder) -> None:
        self.path = path
        self.builder = builder
        self.notes: list[str] = []
        self.fraction: float | None = None

    def __iter__(self) -> Iterator[Record]:
        """Yield the records of all files, by name.

        Raises:
            InvalidInputError: It is no archive, or holds no file that can be read.
        """
        self.notes = []
        try:
            archive = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"{self.path} can't be opened: {error}.", next_step="Check the archive."
            ) from error
        with archive:
            yield from self._read(archive)

    def _read(self, archive: zipfile.ZipFile) -> Iterator[Record]:
        files = [
            each
            for each in sorted(archive.infolist(), key=lambda each: each.filename)
            if not each.is_dir()
            and not any(
                part.startswith((".", "__MACOSX")) for part in PurePath(each.filename).parts
            )
        ]
        texts = [each for each in files if PurePath(each.filename).suffix.lower() in TEXT_SUFFIXES]
        wanted = texts or [
            each
            for each in files
            if (found := reader_class(each.filename)) is not None and found.is_text
        ]
        skipped = Counter(kind_of(each.filename) for each in files if each not in wanted)
        if not wanted:
            raise InvalidInputError(
                f"{self.path} holds no file that can be read.",
                next_step="Name an archive of .txt, .md, .jsonl or .csv files.",
            )
        for done, each in enumerate(wanted):
            self.fraction = done / len(wanted)
            try:
                with archive.open(each) as file:
                    yield from self._records(each.filename, file)
            except InvalidInputError as error:
                yield Rejected(each.filename, error.message, error.next_step)
            except (*UNREADABLE, NotImplementedError, RuntimeError) as error:
                # RuntimeError: it is encrypted. NotImplementedError: it is packed in a rare way.
                yield unreadable(each.filename, error)
        self.fraction = 1.0
        if note := skipped_note(self.path.name, skipped):
            self.notes.append(note)

    def _records(self, name: str, file: IO[bytes]) -> Iterator[Record]:
        found = reader_class(name)
        if found is None:
            yield text_record(file, name, self.builder, Counter())
            return
        reader = found(self.path.parent / name, self.builder, name)
        yield from reader.read_packed(file)
        self.notes += reader.notes
