from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lusifer.service.queue import Priority, Request, RequestQueue

BUDGET = 64


def _rows(*lengths: int, start: int = 0) -> list[np.ndarray]:
    return [np.arange(start, start + length, dtype=np.int32) for length in lengths]


def _job(lanes: RequestQueue, lane: Priority, rows: list[np.ndarray]) -> Request:
    job = Request(lane, len(rows), 4)
    lanes.add(job, rows, 0.0)
    return job


def test_queries_go_first_but_bulk_gets_every_fifth_batch() -> None:
    lanes = RequestQueue(BUDGET)
    _job(lanes, "bulk", [row for i in range(50) for row in _rows(60, start=1000 * i)])
    _job(lanes, "query", [row for i in range(50) for row in _rows(60, start=7 + 1000 * i)])
    assert [lanes.take()[0] for _ in range(10)] == ["query"] * 4 + ["bulk"] + ["query"] * 4 + [
        "bulk"
    ]


def test_a_small_job_does_not_wait_for_a_huge_one() -> None:
    lanes = RequestQueue(BUDGET)
    _job(lanes, "bulk", [row for i in range(1000) for row in _rows(16, start=100 * i)])
    small = _job(lanes, "bulk", _rows(16, start=7))
    _, units = lanes.take()
    assert small.units[0] in units


def test_equal_rows_are_one_unit_and_a_question_overtakes_with_it() -> None:
    lanes = RequestQueue(BUDGET)
    bulk = _job(lanes, "bulk", [*_rows(16), *_rows(60, start=500)])
    query = _job(lanes, "query", _rows(16))
    assert lanes.queued_tokens == 76
    lane, units = lanes.take()
    assert lane == "query"
    assert {job for job, _ in units[0].waiters} == {bulk, query}
    lane, units = lanes.take()
    assert (lane, len(units[0].ids), lanes.queued_tokens) == ("bulk", 60, 0)


def test_a_row_of_less_than_half_the_length_is_left_for_a_batch_of_its_own() -> None:
    lanes = RequestQueue(1000)
    _job(lanes, "bulk", [*_rows(100), *_rows(90, start=1), *_rows(50, start=2), *_rows(8, start=3)])
    assert [len(unit.ids) for unit in lanes.take()[1]] == [100, 90]
    assert [len(unit.ids) for unit in lanes.take()[1]] == [50]
    assert [len(unit.ids) for unit in lanes.take()[1]] == [8]


def test_a_longer_row_of_a_neighbour_comes_along_unless_it_takes_the_turn_away() -> None:
    lanes = RequestQueue(1000)
    jobs = [_job(lanes, "query", _rows(length, start=length)) for length in (12, 9, 16, 30)]
    assert [len(unit.ids) for unit in lanes.take()[1]] == [16, 12, 9]
    assert [len(unit.ids) for unit in lanes.take()[1]] == [30]
    lanes = RequestQueue(40)
    jobs = [_job(lanes, "query", _rows(length, start=length)) for length in (12, 18, 19)]
    assert lanes.take()[1] == [jobs[0].units[0]]


def test_a_removed_job_leaves_what_others_want() -> None:
    lanes = RequestQueue(BUDGET)
    gone = _job(lanes, "query", [*_rows(8), *_rows(9, start=50)])
    stays = _job(lanes, "bulk", _rows(8))
    lanes.remove(gone)
    lanes.remove(gone)
    assert lanes.queued_tokens == 8
    lane, units = lanes.take()
    assert lane == "bulk"
    assert units[0].waiters == [(stays, 0)]
    assert lanes.queued_tokens == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["query", "bulk"]),
            st.lists(st.tuples(st.integers(0, 6), st.integers(1, 90)), min_size=1, max_size=12),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sets(st.integers(0, 11)),
    st.randoms(use_true_random=False),
)
def test_every_wanted_row_is_taken_once_within_the_budget(jobs, removed, random) -> None:  # type: ignore[no-untyped-def]
    lanes = RequestQueue(BUDGET)
    made = [
        _job(lanes, lane, [row for start, n in shape for row in _rows(n, start=start)])
        for lane, shape in jobs
    ]
    kept = {
        (int(row[0]), len(row))
        for index, (_, shape) in enumerate(jobs)
        if index not in removed
        for start, n in shape
        for row in _rows(n, start=start)
    }
    taken: list[tuple[int, int]] = []
    for index in removed:
        if index < len(made):
            lanes.remove(made[index])
    while lanes.queued_tokens:
        _, units = lanes.take()
        longest = max(len(unit.ids) for unit in units)
        assert len(units) == 1 or len(units) * longest <= BUDGET
        taken += [(int(unit.ids[0]), len(unit.ids)) for unit in units]
        for unit in units:
            assert unit.waiters
            lanes.forget(unit)
    assert sorted(taken) == sorted(kept)
