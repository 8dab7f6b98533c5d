"""Native libraries: panics of Rust as exceptions that can be handled, free memory of C."""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["catch_panics", "is_panic", "return_free_memory"]


def is_panic(error: BaseException) -> bool:
    """Return whether an exception is a panic of a library in Rust, which is no ``Exception``."""
    return type(error).__name__ == "PanicException"


@contextmanager
def catch_panics() -> Iterator[None]:
    """Turn a panic into a RuntimeError, so that it ends one request and not the program.

    Raises:
        RuntimeError: The library panicked, as a damaged or hostile file can have it do.
    """
    try:
        yield
    except BaseException as error:
        if is_panic(error):
            raise RuntimeError(f"the library panicked: {error}") from error
        raise


def return_free_memory() -> None:
    """Give free memory back to the system, where the C library would keep it for later use.

    After large requests glibc keeps hundreds of megabytes, which nothing ever uses again. Other C
    libraries have no such call, and then nothing is done. It takes some milliseconds, without
    Python's lock.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
