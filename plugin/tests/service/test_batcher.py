from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer.engines.fake import FakeEngine, Faults
from lusifer.errors import EngineBusyError, EngineError, EngineOutputError, NotReadyError
from lusifer.service.batcher import BatchReport, MicroBatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

DIMENSION = 16


class Gate(FakeEngine):
    """An engine whose calls wait for ``through``; ``entered`` counts the calls that are inside."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.entered = threading.Semaphore(0)
        self.through = threading.Semaphore(0)
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        self.shapes.append(input_ids.shape)
        self.entered.release()
        assert self.through.acquire(timeout=120)
        return super().run(input_ids, attention_mask)


def _batcher(engine: FakeEngine, **changes: object) -> MicroBatcher:
    options = {"dimension": DIMENSION, "pad_token_id": 1, "batch_tokens": 256, **changes}
    return MicroBatcher(engine, **options)  # type: ignore[arg-type]


def _row(*ids: int) -> NDArray[np.int32]:
    return np.array(ids, dtype=np.int32)


def _alone(row: NDArray[np.int32]) -> NDArray[np.float32]:
    return FakeEngine(DIMENSION).run(row[None].astype(np.int64), np.ones((1, len(row)), np.int64))[
        0
    ]


@pytest.fixture
def gate() -> Iterator[tuple[Gate, MicroBatcher]]:
    engine = Gate()
    batcher = _batcher(engine)
    yield engine, batcher
    engine.through.release(1000)
    batcher.close()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["query", "bulk"]),
            st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=40), max_size=12),
        ),
        max_size=8,
    )
)
def test_every_row_has_the_vector_it_has_alone(shapes) -> None:  # type: ignore[no-untyped-def]
    batcher = _batcher(FakeEngine(DIMENSION), batch_tokens=64)
    submitted = [
        (rows, batcher.submit([_row(*ids) for ids in rows], priority)) for priority, rows in shapes
    ]
    for rows, request in submitted:
        vectors = request.future.result(timeout=120)
        assert vectors.shape == (len(rows), DIMENSION)
        for ids, vector in zip(rows, vectors, strict=True):
            assert np.abs(vector - _alone(_row(*ids))).max() < 1e-6
    batcher.close()
    assert batcher.queued_tokens == 0


def test_requests_that_come_while_the_engine_works_share_the_next_batch(
    gate: tuple[Gate, MicroBatcher],
) -> None:
    engine, batcher = gate
    requests = [batcher.submit([_row(5, 6, 7)], "query")]
    assert engine.entered.acquire(timeout=120)
    requests += [batcher.submit([_row(5, 6, 7, n)], "query") for n in range(10, 20)]
    engine.through.release(2)
    for request in requests:
        request.future.result(timeout=120)
    assert engine.shapes == [(1, 3), (10, 4)]


def test_a_query_overtakes_documents(gate: tuple[Gate, MicroBatcher]) -> None:
    engine, batcher = gate
    bulk = batcher.submit([_row(*range(n, n + 100)) for n in range(2, 10)], "bulk")
    assert engine.entered.acquire(timeout=120)
    query = batcher.submit([_row(5, 6)], "query")
    engine.through.release(2)
    query.future.result(timeout=120)
    assert not bulk.future.done()
    assert engine.shapes[1] == (1, 2)


def test_equal_rows_are_computed_once_even_if_one_is_already_running(
    gate: tuple[Gate, MicroBatcher],
) -> None:
    engine, batcher = gate
    first = batcher.submit([_row(5, 6), _row(5, 6)], "bulk")
    assert engine.entered.acquire(timeout=120)
    second = batcher.submit([_row(5, 6)], "query")
    engine.through.release(1)
    assert (first.future.result(timeout=120)[1] == second.future.result(timeout=120)[0]).all()
    assert engine.shapes == [(1, 2)]


def test_a_cancelled_request_leaves_the_queue_and_other_requests_alone(
    gate: tuple[Gate, MicroBatcher],
) -> None:
    engine, batcher = gate
    running = batcher.submit([_row(9)], "bulk")
    assert engine.entered.acquire(timeout=120)
    gone = batcher.submit([_row(5, 6), _row(5, 7)], "bulk")
    stays = batcher.submit([_row(5, 6)], "bulk")
    batcher.cancel(gone)
    batcher.cancel(gone)
    batcher.cancel(running)  # too late for the engine, in time for the caller
    engine.through.release(2)
    stays.future.result(timeout=120)
    for request in (gone, running):
        with pytest.raises(CancelledError):
            request.future.result(timeout=120)
    assert engine.shapes == [(1, 1), (1, 2)]
    assert batcher.queued_tokens == 0


def test_closing_finishes_what_is_queued_and_refuses_the_rest(
    gate: tuple[Gate, MicroBatcher],
) -> None:
    engine, batcher = gate
    request = batcher.submit([_row(5, 6)], "bulk")
    engine.through.release(1)
    batcher.close()
    assert request.future.done()
    with pytest.raises(NotReadyError, match="stopping"):
        batcher.submit([_row(5)], "query")


@pytest.mark.parametrize(
    "fault", ["nan_on", "short_answer_on", "wrong_dimension_on", "not_unit_on"]
)
def test_a_passing_fault_fails_no_request(fault: str) -> None:
    engine = FakeEngine(DIMENSION, faults=Faults(**{fault: {1}}))  # type: ignore[arg-type]
    batcher = _batcher(engine)
    rows = [_row(5, n) for n in range(6, 12)]
    vectors = batcher.submit(rows, "bulk").future.result(timeout=120)
    assert np.abs(vectors - np.stack([_alone(row) for row in rows])).max() < 1e-6
    batcher.close()


class Spoiled(FakeEngine):
    """An engine whose vectors ``change(input_ids, vectors)`` changes in place."""

    def __init__(self, change: Callable[[NDArray[np.int64], NDArray[np.float32]], None]) -> None:
        super().__init__(DIMENSION)
        self._change = change

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        vectors = super().run(input_ids, attention_mask)
        self._change(input_ids, vectors)
        return vectors


def test_a_row_that_fails_fails_its_own_request_only() -> None:
    def poison(input_ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        # A NaN in each row with token 13, as a kernel broken for one input would give.
        vectors[(input_ids == 13).any(axis=1)] = np.nan

    batcher = _batcher(Spoiled(poison))
    requests = [batcher.submit([_row(5, n), _row(6, n)], "query") for n in range(10, 20)]
    for n, request in zip(range(10, 20), requests, strict=True):
        if n == 13:
            with pytest.raises(EngineOutputError, match="NaN"):
                request.future.result(timeout=120)
        else:
            assert np.abs(request.future.result(timeout=120)[0] - _alone(_row(5, n))).max() < 1e-6
    batcher.close()


def test_an_engine_that_always_returns_invalid_vectors_is_not_called_for_ever() -> None:
    engine = Spoiled(lambda _, vectors: vectors.fill(np.nan))
    batcher = _batcher(engine, batch_tokens=10_000)
    with pytest.raises(EngineOutputError):
        batcher.submit([_row(5, n) for n in range(6, 500)], "bulk").future.result(timeout=120)
    batcher.close()
    assert engine.calls < 60


def test_a_batch_too_large_for_memory_is_halved() -> None:
    engine = FakeEngine(DIMENSION, faults=Faults(out_of_memory_above_rows=3))
    batcher = _batcher(engine)
    rows = [_row(5, n) for n in range(6, 26)]
    assert batcher.submit(rows, "bulk").future.result(timeout=120).shape == (20, DIMENSION)
    batcher.close()
    engine = FakeEngine(DIMENSION, faults=Faults(out_of_memory_above_rows=0))
    batcher = _batcher(engine)
    with pytest.raises(EngineBusyError):
        batcher.submit([_row(5)], "bulk").future.result(timeout=120)
    batcher.close()


def test_an_engine_that_raises_anything_still_gives_every_request_an_answer() -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("boom")

    batcher = _batcher(Spoiled(crash))
    for _ in range(3):
        with pytest.raises(EngineError, match="ZeroDivisionError: boom"):
            batcher.submit([_row(5)], "query").future.result(timeout=120)
    batcher.close()


def test_reports_and_speed_are_measured() -> None:
    reports: list[BatchReport] = []
    batcher = _batcher(FakeEngine(DIMENSION, faults=Faults(slow_s=0.01)), on_batch=reports.append)
    assert batcher.tokens_per_s == 0
    batcher.submit([_row(5, 6, 7), _row(8, 9)], "bulk").future.result(timeout=120)
    batcher.close()
    (report,) = reports
    assert (report.priority, report.rows, report.tokens, report.padded_tokens) == ("bulk", 2, 5, 6)
    assert report.duration_s >= 0.01
    assert batcher.tokens_per_s == pytest.approx(5 / report.duration_s)
    assert 0 < batcher.busy_ratio <= 1


def test_an_idle_engine_gathers_only_while_requests_come_fast() -> None:
    engine = Gate()
    engine.through.release(1000)
    batcher = _batcher(engine, maximum_wait_s=0.2)
    # Far apart: there is nothing to wait for.
    for n in range(6):
        time.sleep(0.15)
        batcher.submit([_row(5, n)], "query").future.result(timeout=120)
    assert engine.shapes == [(1, 2)] * 6
    # Fast: once that is known, requests that arrive together share a batch.
    for _ in range(3):
        requests = [batcher.submit([_row(7, n)], "query") for n in range(40)]
        for request in requests:
            request.future.result(timeout=120)
    assert max(rows for rows, _ in engine.shapes) > 10
    batcher.close()
