"""Reads Parquet files, in memory that does not grow with a row group."""

from __future__ import annotations

import os
from datetime import date
from datetime import time as dt_time
from decimal import Decimal
from typing import IO, TYPE_CHECKING, cast
from uuid import UUID

from lusifer.errors import MissingExtraError
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES
from lusifer.ingest.sources.base import FileReader, Record, Rejected, missing_column, unreadable
from lusifer.ingest.sources.parquet_pages import largest_pages_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import RecordBatch

    from lusifer.types import JSON

__all__ = ["ParquetReader"]

_ROWS = 512
_BUFFER_BYTES = 1024**2
_BATCH_BYTES = 4 * MAXIMUM_LINE_BYTES
_PAGES_BYTES = 16 * MAXIMUM_LINE_BYTES
_PAGES_SHARE = 16
"""Most bytes of one page of each column, which are in memory together, in all and per byte of the
file; the larger of the two counts."""


class ParquetReader(FileReader):
    """Reads a file ``.parquet``."""

    def read(self, file: IO[bytes], name: str) -> Iterator[Record]:
        """Yield a record for each row of an open file; null values are left out.

        Raises:
            InvalidInputError: The file has no column with the text.
            MissingExtraError: pyarrow is not installed.
        """
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtraError(
                f"Parquet files need pyarrow: {error}.",
                next_step="Run pip install 'lusifer[parquet]'.",
            ) from error
        row = 0
        try:
            # Neither pre-buffered nor read a column at a time: both would hold a whole row group.
            table = ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
            columns = table.schema_arrow.names
            if self.builder.text_field not in columns:
                raise missing_column(name, self.builder.text_field, columns)
            total = max(1, table.metadata.num_rows)
            self._position = lambda: min(1.0, row / total)
            # A large file may have large pages; a small one that has them is made to.
            maximum_bytes = max(_PAGES_BYTES, _PAGES_SHARE * os.fstat(file.fileno()).st_size)
            for group in range(table.num_row_groups):
                pages_bytes = largest_pages_bytes(file, table.metadata.row_group(group))
                if pages_bytes > maximum_bytes:
                    raise OSError(
                        f"one page of each column takes {pages_bytes} bytes, at most "
                        f"{maximum_bytes} are read"
                    )
                # No value is larger than its page, so that a batch has at most _BATCH_BYTES.
                rows = max(1, min(_ROWS, _BATCH_BYTES // max(1, pages_bytes)))
                for batch in table.iter_batches(batch_size=rows, row_groups=[group]):
                    for fields in _rows(batch):
                        row += 1
                        where = f"{name} row {row}"
                        if isinstance(fields, str):
                            yield Rejected(where, fields, "Split the row into several rows.")
                            continue
                        given = {
                            key: _as_json(value)
                            for key, value in fields.items()
                            if value is not None
                        }
                        yield self.builder.from_fields(given, where)
        except (ArrowException, OSError) as error:
            yield unreadable(f"{name} after row {row}", error)


def _rows(batch: RecordBatch) -> Iterator[dict[str, object] | str]:
    """Yield the rows of a batch; a row over the limit is a sentence that says so."""
    if batch.nbytes <= MAXIMUM_LINE_BYTES:
        yield from batch.to_pylist()
        return
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        if row.nbytes <= MAXIMUM_LINE_BYTES:
            yield from row.to_pylist()
            continue
        sizes = dict(zip(row.schema.names, (column.nbytes for column in row.columns), strict=True))
        largest = max(sizes, key=lambda column: sizes[column])
        yield (
            f"It has {row.nbytes} bytes, {sizes[largest]} of them in the column {largest!r}; at "
            f"most {MAXIMUM_LINE_BYTES} are read."
        )


def _as_json(value: object) -> JSON:
    """Return a value as JSON has it: dates as ISO 8601, decimals and UUIDs as text."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, date | dt_time):
        return value.isoformat()
    # Anything else, such as bytes, is refused when the document is checked.
    return str(value) if isinstance(value, Decimal | UUID) else cast("JSON", value)
