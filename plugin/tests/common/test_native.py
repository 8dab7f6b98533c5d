from __future__ import annotations

import pytest

from lusifer.common.native import catch_panics, is_panic


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
