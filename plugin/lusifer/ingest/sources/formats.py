"""The reader of a file, by the ending of its name."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from lusifer.ingest.sources.csv_file import CsvReader, TsvReader
from lusifer.ingest.sources.jsonl import JsonLinesReader
from lusifer.ingest.sources.packed import PACKED
from lusifer.ingest.sources.parquet import ParquetReader

if TYPE_CHECKING:
    from lusifer.ingest.sources.base import FileReader

__all__ = ["kind_of", "reader_class"]

_READERS: dict[str, type[FileReader]] = {
    ".jsonl": JsonLinesReader,
    ".ndjson": JsonLinesReader,
    ".json": JsonLinesReader,
    ".csv": CsvReader,
    ".tsv": TsvReader,
    ".parquet": ParquetReader,
}


def reader_class(name: str) -> type[FileReader] | None:
    """Return the reader of a file, or None where its name ends like none that is read."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    packed = suffixes[-1:] and suffixes[-1] in PACKED
    if packed:
        suffixes.pop()
    found = _READERS.get(suffixes[-1]) if suffixes else None
    # Parquet is read from its end, and is packed inside.
    return None if packed and found is ParquetReader else found


def kind_of(name: str) -> str:
    """Return the ending of a file's name, as it is counted where the file is skipped."""
    return PurePath(name).suffix.lower() or "without an ending"
