"""Unpack files while they are read."""

from __future__ import annotations

import bz2
import gzip
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PACKED", "unpacked"]

PACKED = frozenset({".gz", ".bz2", ".zst"})
"""Endings of files that are packed by themselves; ``.zip`` holds several."""


@contextmanager
def unpacked(raw: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    """Yield an open file unpacked, or as it is where its ending is none of a packed one.

    Raises:
        MissingExtraError: pyarrow, which unpacks ``.zst``, is not installed.
    """
    if suffix == ".gz":
        with gzip.open(raw) as file:
            yield cast("IO[bytes]", file)
    elif suffix == ".bz2":
        with bz2.open(raw) as file:
            yield cast("IO[bytes]", file)
    elif suffix == ".zst":
        try:
            from pyarrow import CompressedInputStream
        except ImportError as error:
            raise MissingExtraError(
                f"Files .zst need pyarrow: {error}.",
                next_step="Run pip install 'lusifer[parquet]'.",
            ) from error
        with CompressedInputStream(raw, "zstd") as file:
            yield cast("IO[bytes]", file)
    else:
        yield raw
