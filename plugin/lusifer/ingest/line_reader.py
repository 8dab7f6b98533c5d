"""The one reader of lines: splits a byte stream at line feeds only, in bounded memory.

Python's text mode also splits at lone carriage returns, and ``str.splitlines`` at U+2028 and other
characters that occur inside texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from lusifer.errors import InvalidTextError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAXIMUM_LINE_BYTES", "Line", "decode_utf8", "read_lines"]

MAXIMUM_LINE_BYTES = 16 * 1024**2
"""Longest line that is read, and largest record of every other format. A longer one gives an error,
so that memory stays bounded: JSON takes up to 25 times its bytes once it is parsed."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line ending."""

    number: int
    """Number of the line, from 1."""
    raw: bytes
    """Bytes of the line."""
    error: InvalidTextError | None = None
    """Error of a line that is too long to be read; ``raw`` is then empty."""


def read_lines(file: IO[bytes], maximum_bytes: int = MAXIMUM_LINE_BYTES) -> Iterator[Line]:
    """Yield lines that end in LF or CR LF, without a byte order mark at the start of the file."""
    number = 0
    while raw := file.readline(maximum_bytes):
        number += 1
        if len(raw) >= maximum_bytes and not raw.endswith(b"\n"):
            length_bytes = len(raw)
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(maximum_bytes)
                length_bytes += len(raw)
            yield Line(number, b"", _too_long(length_bytes, maximum_bytes))
            continue
        if number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if raw.endswith(b"\n"):
            raw = raw[:-1].removesuffix(b"\r")
        yield Line(number, raw)


def decode_utf8(line: Line) -> str:
    """Return the text of a line.

    Raises:
        InvalidTextError: The line is not UTF-8, or too long to be read.
    """
    if line.error is not None:
        raise line.error
    try:
        return line.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidTextError(
            f"The text is not UTF-8: byte 0x{line.raw[error.start]:02X} at position {error.start} "
            f"of {len(line.raw)} bytes.",
            next_step="Save it as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8",
        ) from None


def _too_long(length_bytes: int, maximum_bytes: int) -> InvalidTextError:
    return InvalidTextError(
        f"The line has {length_bytes} bytes, at most {maximum_bytes} are read.",
        next_step="Split it into several lines.",
    )
