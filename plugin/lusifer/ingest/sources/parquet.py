"""Reads Parquet files, in memory that does not grow with a row group."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from datetime import time as dt_time
from decimal import Decimal
from itertools import product
from typing import IO, TYPE_CHECKING, NamedTuple, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lusifer.errors import MissingExtraError
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES
from lusifer.ingest.sources.base import FileReader, Record, Rejected, missing_column, unreadable
from lusifer.ingest.sources.parquet_pages import largest_pages_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from pyarrow import DataType, RecordBatch, Schema

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

    is_text = False

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
            if not self.builder.has_text(columns):
                raise missing_column(name, self.builder.text_field, columns)
            kept = self._readable(table.schema_arrow)
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
                for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=kept):
                    for fields in _rows(batch):
                        row += 1
                        where = f"{name} row {row}"
                        if isinstance(fields, _Refused):
                            yield Rejected(where, *fields)
                            continue
                        given = {
                            key: _as_json(value)
                            for key, value in fields.items()
                            if value is not None
                        }
                        yield self.builder.from_fields(given, where)
        except (ArrowException, OSError) as error:
            yield unreadable(f"{name} after row {row}", error)

    def _readable(self, schema: Schema) -> list[str]:
        """Return the columns that JSON has a value for; the others are left out with a note."""
        from pyarrow import types

        def unreadable(kind: DataType) -> bool:
            checks = (
                types.is_binary,
                types.is_large_binary,
                types.is_fixed_size_binary,
                types.is_duration,
            )
            return any(check(kind) for check in checks)

        left_out = [field for field in schema if unreadable(field.type)]
        if left_out:
            columns = ", ".join(f"{each.name!r} ({each.type})" for each in left_out)
            self.notes.append(f"JSON has no such values, so these columns are left out: {columns}.")
        return [field.name for field in schema if field not in left_out]


class _Refused(NamedTuple):
    """A row that can't be read."""

    reason: str
    next_step: str


def _rows(batch: RecordBatch) -> Iterator[dict[str, object] | _Refused]:
    """Yield the rows of a batch, or why a row can't be read."""
    if batch.nbytes <= MAXIMUM_LINE_BYTES and (rows := _converted(batch)) is not None:
        yield from rows
        return
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        if row.nbytes > MAXIMUM_LINE_BYTES:
            sizes = [column.nbytes for column in row.columns]
            largest = row.schema.names[sizes.index(max(sizes))]
            yield _Refused(
                f"It has {row.nbytes} bytes, {max(sizes)} of them in the column {largest!r}; at "
                f"most {MAXIMUM_LINE_BYTES} are read.",
                "Split the row into several rows.",
            )
        elif (rows := _converted(row)) is not None:
            yield from rows
        else:
            name = next(each for each in row.schema.names if _converted(row.select([each])) is None)
            yield _Refused(
                f"The column {name!r} ({row.schema.field(name).type}) holds a value that Python "
                "can't represent, such as a date outside the years 1 to 9999.",
                "Correct the value, or write the column as text.",
            )


def _converted(batch: RecordBatch) -> list[dict[str, object]] | None:
    """Return the rows of a batch as Python values; None where one of them is out of range."""
    zones: dict[str, str | None] = {}
    for at, field in enumerate(batch.schema):
        # Python's own times have no nanoseconds, and pandas, which has, may be missing.
        if str(field.type).startswith("timestamp[ns"):
            batch = batch.set_column(at, field.name, batch.column(at).cast("int64"))
            zones[field.name] = field.type.tz
    try:
        rows: list[dict[str, object]] = batch.to_pylist()
        for row, (name, zone) in product(rows, zones.items()):
            if isinstance(time_ns := row[name], int):
                row[name] = _from_nanoseconds(time_ns, zone)
    except (OverflowError, ValueError, ZoneInfoNotFoundError):
        return None
    return rows


def _from_nanoseconds(time_ns: int, zone: str | None) -> str:
    """Return a time in ISO 8601, given in nanoseconds since 1970."""
    seconds, fraction_ns = divmod(time_ns, 10**9)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    local = time.replace(tzinfo=None) if zone is None else time.astimezone(_zone(zone))
    whole, offset = local.isoformat()[:19], local.isoformat()[19:]
    digits = f"{fraction_ns:09d}"
    # As Python writes it: six digits where they are enough.
    fraction = digits[:6] if digits.endswith("000") else digits
    return f"{whole}{f'.{fraction}' if fraction_ns else ''}{offset}"


def _zone(name: str) -> tzinfo:
    """Return a time zone by its name or its offset, such as ``+02:00``."""
    if name[:1] in {"+", "-"}:
        zone = datetime.fromisoformat(f"1970-01-01T00:00:00{name}").tzinfo
        return zone or UTC
    return ZoneInfo(name)


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
