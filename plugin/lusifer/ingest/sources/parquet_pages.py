"""Sizes of the pages of a Parquet file, read from their headers before any page is unpacked.

A file of 2 kB can hold values of gigabytes. The footer does not say so, and pyarrow has no limit:
it unpacks whole pages. A header is a struct ``PageHeader`` in Thrift's compact protocol; its second
and third fields are the size of the page unpacked and packed.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyarrow.parquet import RowGroupMetaData

__all__ = ["largest_pages_bytes"]

_HEADER_BYTES = 16 * 1024**2
"""Longest header that pyarrow reads."""
_FIRST_READ_BYTES = 256
_DEPTH = 8

_TRUE, _FALSE, _BYTE, _I16, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip


def largest_pages_bytes(file: IO[bytes], group: RowGroupMetaData) -> int:
    """Return the unpacked bytes of the largest page of each column of a row group, summed.

    Args:
        file: The Parquet file. Its position is kept.
        group: The row group's part of the footer.

    Raises:
        OSError: A header can't be read.
    """
    position = file.tell()
    try:
        return sum(
            _largest_page_bytes(file, group.column(index)) for index in range(group.num_columns)
        )
    finally:
        file.seek(position)


def _largest_page_bytes(file: IO[bytes], chunk: Any) -> int:  # pyarrow has no types
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    at = min(start for start in starts if start)
    end = at + chunk.total_compressed_size
    largest = 0
    while at < end:
        header_bytes, unpacked_bytes, packed_bytes = _page_header(file, at)
        largest = max(largest, unpacked_bytes)
        at += header_bytes + packed_bytes
    return largest


def _page_header(file: IO[bytes], at: int) -> tuple[int, int, int]:
    """Return length of a header, and the bytes of its page unpacked and packed."""
    wanted = _FIRST_READ_BYTES
    while True:
        file.seek(at)
        raw = file.read(wanted)
        try:
            header = _Compact(raw)
            fields = header.struct()
            return header.at, max(0, fields[2]), max(0, fields[3])
        except IndexError:
            if len(raw) < wanted or wanted >= _HEADER_BYTES:
                raise OSError(f"the header of the page at byte {at} is cut short") from None
            wanted *= 16
        except (KeyError, ValueError) as error:
            raise OSError(f"the header of the page at byte {at} is damaged") from error


class _Compact:
    """Reads a struct of Thrift's compact protocol; raises IndexError where bytes are missing."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """Read a struct, and return its whole numbers by the number of the field."""
        numbers: dict[int, int] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            if _I16 <= kind <= _I64:
                numbers[field] = self._signed()
            elif kind not in (_TRUE, _FALSE):  # their value is in the head
                self._skip(kind, depth)
        return numbers

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _DEPTH:
            raise ValueError("nested too deeply")
        if kind in (_TRUE, _FALSE, _BYTE):
            self._jump(1)
        elif _I16 <= kind <= _I64:
            self._unsigned()
        elif kind == _DOUBLE:
            self._jump(8)
        elif kind == _BINARY:
            self._jump(self._unsigned())
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            self._skip_items(count, (head & 15,), depth)
        elif kind == _MAP:
            if count := self._unsigned():
                kinds = self._byte()
                self._skip_items(count, (kinds >> 4, kinds & 15), depth)
        elif kind == _STRUCT:
            self.struct(depth + 1)
        else:
            raise ValueError(f"unknown type {kind}")

    def _skip_items(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        # Each item but a struct's end takes a byte, so that the loop ends with the bytes.
        for _ in range(count):
            for kind in kinds:
                self._skip(kind, depth + 1)

    def _jump(self, count: int) -> None:
        if self.at + count > len(self._raw):
            raise IndexError
        self.at += count

    def _byte(self) -> int:
        self._jump(1)
        return self._raw[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
