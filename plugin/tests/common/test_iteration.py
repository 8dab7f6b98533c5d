from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lusifer.common.iteration import chunked


def test_runs_of_a_count() -> None:
    assert list(chunked(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunked([], 2)) == []


def test_a_run_ends_before_it_is_too_large() -> None:
    runs = chunked(["aa", "b", "cccc", "d"], 3, size=len, maximum_size=3)
    assert list(runs) == [["aa", "b"], ["cccc"], ["d"]]


def test_a_full_run_does_not_wait_for_the_next_item() -> None:
    read: list[int] = []
    runs = chunked((read.append(n) or n for n in range(10)), 2)
    assert next(runs) == [0, 1]
    assert read == [0, 1]


@given(st.lists(st.text(max_size=9)), st.integers(1, 5), st.integers(1, 12))
def test_nothing_is_lost_and_no_run_is_too_large(
    items: list[str], count: int, maximum_size: int
) -> None:
    runs = list(chunked(items, count, size=len, maximum_size=maximum_size))
    assert [item for run in runs for item in run] == items
    for run in runs:
        assert 1 <= len(run) <= count
        assert len(run) == 1 or sum(map(len, run)) <= maximum_size
