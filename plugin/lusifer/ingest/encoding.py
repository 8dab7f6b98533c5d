"""Find out the encoding of a file and read it as UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import IO, TYPE_CHECKING

from charset_normalizer import from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

__all__ = ["HEAD_BYTES", "Utf8Stream", "detect_encoding"]

HEAD_BYTES = 256 * 1024
"""Bytes at the beginning of a file by which its encoding is detected."""

_ENOUGH = 20
"""Bytes beyond ASCII from which an encoding without a mark can be told from another."""
_CHUNK_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-16 is the beginning of that of UTF-32."""


def detect_encoding(head: bytes) -> str:
    """Return Python's name of the encoding of a text.

    It is UTF-8 unless a byte order mark says otherwise, every second byte is zero as in UTF-16, or
    the text is not UTF-8 at all. A few wrong bytes leave it UTF-8, so that the records that hold
    them can be named.

    Args:
        head: Beginning of the text.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    pairs = len(head) // 2
    for zeros, encoding in ((head[1::2], "utf-16-le"), (head[::2], "utf-16-be")):
        if pairs > 2 and zeros.count(0) > 0.4 * pairs and head.count(0) < 0.6 * len(head):
            return encoding
    beyond_ascii = len(head) - len(head.translate(None, bytes(range(128, 256))))
    kept = len(head.decode("utf-8", "ignore").encode())
    # Less than one in ten would be chance: letters of other encodings seldom form UTF-8.
    if beyond_ascii < _ENOUGH or len(head) - kept < 0.1 * beyond_ascii:
        return "utf-8"
    best = from_bytes(head).best()
    return best.encoding if best is not None else "utf-8"


class Utf8Stream(io.RawIOBase):
    """A file of any encoding, read as UTF-8 without a byte order mark.

    Bytes that the encoding does not know stay as they are in UTF-8; in others they raise
    ``OSError``.

    Args:
        file: The file, at its beginning.
        wait: Read a whole head before the encoding is detected; otherwise what is there, as of a
            pipe whose other end is slow.
    """

    def __init__(self, file: IO[bytes], *, wait: bool = True) -> None:
        read_some: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._read = file.read if wait else read_some
        head = _read_full(file, HEAD_BYTES) if wait else self._read(HEAD_BYTES)
        self.encoding = detect_encoding(head)
        """Encoding of the file."""
        self._decoder = (
            None
            if self.encoding in {"utf-8", "utf-8-sig"}
            else codecs.getincrementaldecoder(self.encoding)()
        )
        self._ready = self._recode(head.removeprefix(codecs.BOM_UTF8), final=False)
        self._ended = False

    @classmethod
    def buffered(cls, file: IO[bytes], *, wait: bool = True) -> tuple[io.BufferedReader, str]:
        """Return a file as UTF-8, which can be peeked into and read by lines, and its encoding."""
        stream = cls(file, wait=wait)
        return io.BufferedReader(stream, 4 * HEAD_BYTES), stream.encoding

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there into a buffer; return how many bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        while not self._ready and not self._ended:
            raw = self._read(_CHUNK_BYTES)
            self._ended = not raw
            self._ready = self._recode(raw, final=not raw)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _recode(self, raw: bytes, *, final: bool) -> bytes:
        if self._decoder is None:
            return raw
        try:
            return self._decoder.decode(raw, final).encode("utf-8", "replace")
        except UnicodeDecodeError as error:
            raise OSError(f"it is not {self.encoding}: {error.reason}") from error


def _read_full(file: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or all; a pipe gives them in pieces."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
