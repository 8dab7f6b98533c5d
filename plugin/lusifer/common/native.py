"""Libraries written in Rust: their panics as exceptions that can be handled."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["catch_panics", "is_panic"]


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
