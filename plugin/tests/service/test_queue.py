from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lusifer.service.queue import Priority, Request, RequestQueue

BUDGET = 64


def _rows(*lengths: int, start: int = 0) -> list[np.ndarray]:
    return [np.arange(start, start + length, dtype=np.int32) for length in lengths]


def _add(queue: RequestQueue, priority: Priority, rows: list[np.ndarray]) -> Request:
    request = Request(priority, len(rows), 4)
    queue.add(request, rows, 0.0)
    return request


def test_queries_go_first_but_bulk_gets_every_fifth_batch() -> None:
    queue = RequestQueue(BUDGET)
    _add(queue, "bulk", [row for i in range(50) for row in _rows(60, start=1000 * i)])
    _add(queue, "query", [row for i in range(50) for row in _rows(60, start=7 + 1000 * i)])
    assert [queue.take()[0] for _ in range(10)] == ["query"] * 4 + ["bulk"] + ["query"] * 4 + [
        "bulk"
    ]


def test_the_canary_goes_before_all_others() -> None:
    queue = RequestQueue(BUDGET)
    _add(queue, "query", [row for i in range(9) for row in _rows(60, start=1000 * i)])
    _add(queue, "canary", _rows(60, 60, start=7))
    assert [queue.take()[0] for _ in range(3)] == ["canary", "query", "query"]


def test_a_small_request_does_not_wait_for_a_huge_one() -> None:
    queue = RequestQueue(BUDGET)
    _add(queue, "bulk", [row for i in range(1000) for row in _rows(16, start=100 * i)])
    small = _add(queue, "bulk", _rows(16, start=7))
    _, batch = queue.take()
    assert small.rows[0] in batch


def test_equal_rows_are_stored_once_and_a_query_overtakes_with_them() -> None:
    queue = RequestQueue(BUDGET)
    bulk = _add(queue, "bulk", [*_rows(16), *_rows(60, start=500)])
    query = _add(queue, "query", _rows(16))
    assert queue.queued_tokens == 76
    priority, batch = queue.take()
    assert priority == "query"
    assert {request for request, _ in batch[0].waiters} == {bulk, query}
    priority, batch = queue.take()
    assert (priority, len(batch[0].ids), queue.queued_tokens) == ("bulk", 60, 0)


def test_a_row_of_at_most_half_the_length_is_left_for_a_batch_of_its_own() -> None:
    queue = RequestQueue(1000)
    _add(queue, "bulk", [*_rows(100), *_rows(90, start=1), *_rows(50, start=2), *_rows(8, start=3)])
    assert [len(row.ids) for row in queue.take()[1]] == [100, 90]
    assert [len(row.ids) for row in queue.take()[1]] == [50]
    assert [len(row.ids) for row in queue.take()[1]] == [8]


def test_a_longer_row_of_another_request_joins_unless_it_takes_the_turn_away() -> None:
    queue = RequestQueue(1000)
    requests = [_add(queue, "query", _rows(length, start=length)) for length in (12, 9, 16, 30)]
    assert [len(row.ids) for row in queue.take()[1]] == [16, 12, 9]
    assert [len(row.ids) for row in queue.take()[1]] == [30]
    queue = RequestQueue(40)
    requests = [_add(queue, "query", _rows(length, start=length)) for length in (12, 18, 19)]
    assert queue.take()[1] == [requests[0].rows[0]]


def test_a_removed_request_leaves_the_rows_that_others_want() -> None:
    queue = RequestQueue(BUDGET)
    gone = _add(queue, "query", [*_rows(8), *_rows(9, start=50)])
    stays = _add(queue, "bulk", _rows(8))
    queue.remove(gone)
    queue.remove(gone)
    assert queue.queued_tokens == 8
    priority, batch = queue.take()
    assert priority == "bulk"
    assert batch[0].waiters == [(stays, 0)]
    assert queue.queued_tokens == 0


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
def test_every_wanted_row_is_taken_once_within_the_budget(requests, removed, random) -> None:  # type: ignore[no-untyped-def]
    queue = RequestQueue(BUDGET)
    made = [
        _add(queue, priority, [row for start, n in shape for row in _rows(n, start=start)])
        for priority, shape in requests
    ]
    kept = {
        (int(row[0]), len(row))
        for index, (_, shape) in enumerate(requests)
        if index not in removed
        for start, n in shape
        for row in _rows(n, start=start)
    }
    taken: list[tuple[int, int]] = []
    for index in removed:
        if index < len(made):
            queue.remove(made[index])
    while queue.queued_tokens:
        _, batch = queue.take()
        longest = max(len(row.ids) for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= BUDGET
        taken += [(int(row.ids[0]), len(row.ids)) for row in batch]
        for row in batch:
            assert row.waiters
            queue.forget(row)
    assert sorted(taken) == sorted(kept)
