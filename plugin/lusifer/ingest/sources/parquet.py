"""Reads Parquet files, in memory that does not grow with a row group."""

from __future__ import annotations

from datetime import date
from datetime import time as dt_time
from decimal import Decimal
from typing import IO, TYPE_CHECKING, cast
from uuid import UUID

from lusifer.errors import MissingExtraError
from lusifer.ingest.sources.base import FileReader, Record, missing_column, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.types import JSON

__all__ = ["ParquetReader"]

_ROWS = 512
_BUFFER_BYTES = 1024**2


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
                raise missing_column(name, self.builder.text_field, ", ".join(columns))
            total = max(1, table.metadata.num_rows)
            self._position = lambda: min(1.0, row / total)
            for batch in table.iter_batches(batch_size=_ROWS):
                for fields in batch.to_pylist():
                    row += 1
                    given = {
                        key: _as_json(value) for key, value in fields.items() if value is not None
                    }
                    yield self.builder.from_fields(given, f"{name} row {row}")
        except (ArrowException, OSError) as error:
            yield unreadable(f"{name} after row {row}", error)


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
