from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from lusifer.common.native import catch_panics, is_panic, return_free_memory


class PanicException(BaseException):
    pass


def test_a_panic_becomes_an_exception() -> None:
    with (
        pytest.raises(RuntimeError, match="the library panicked: index out of bounds"),
        catch_panics(),
    ):
        raise PanicException("index out of bounds")
    assert is_panic(PanicException())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), ValueError("x")])
def test_everything_else_passes(error: BaseException) -> None:
    assert not is_panic(error)
    with pytest.raises(type(error)), catch_panics():
        raise error


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library is not glibc",
)
def test_free_memory_goes_back_to_the_system() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    blocks = [bytes(60_000) for _ in range(3000)]
    full = resident_bytes()
    # What stays in between keeps the library from shrinking its heap by itself.
    kept = blocks[::100]
    del blocks
    return_free_memory()
    assert full - resident_bytes() > 100 * 2**20
    assert len(kept) == 30
