from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.embedding.batching import _plan_batches, check_engine_output, run_batch, run_batches
from lusifer.errors import EngineBusyError, EngineOutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAD = 9


class SumEngine:
    """A row's vector is ``(sum of its ids, 0)`` over its length; memory fits ``memory_rows``."""

    name = "sum"

    def __init__(self, memory_rows: int = 100) -> None:
        self.memory_rows = memory_rows
        self.fed: list[tuple[list[list[int]], list[list[int]]]] = []

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        self.fed.append((input_ids.tolist(), attention_mask.tolist()))
        if len(input_ids) > self.memory_rows:
            raise EngineBusyError(f"No memory for {len(input_ids)} rows.", next_step="Wait.")
        angles = (input_ids * attention_mask).sum(axis=1) / 100
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def close(self) -> None: ...


def rows(*lengths: int) -> list[NDArray[np.int32]]:
    return [np.full(length, 1, dtype=np.int32) for length in lengths]


def angles(vectors: NDArray[np.float32]) -> list[float]:
    return [round(float(np.arctan2(y, x)) * 100) for x, y in vectors]


@pytest.mark.parametrize(
    ("lengths", "budget", "batches"),
    [
        ([3, 9, 4, 1], 12, [[1], [2, 0, 3]]),
        ([3, 9, 4, 1], 1, [[1], [2], [0], [3]]),
        ([5, 5, 5], 10, [[0, 1], [2]]),
        ([0, 0], 2, [[0, 1]]),
        ([], 10, []),
    ],
)
def test_batches_are_of_like_length_and_longest_first(
    lengths: list[int], budget: int, batches: list[list[int]]
) -> None:
    assert list(_plan_batches(lengths, budget)) == batches


def test_a_batch_is_padded_on_the_right() -> None:
    engine = SumEngine()
    run_batch(
        engine,
        [np.array([4, 5]), np.array([7]), np.array([1, 2, 3])],
        dimension=2,
        pad_token_id=PAD,
    )
    assert engine.fed == [
        ([[4, 5, PAD], [7, PAD, PAD], [1, 2, 3]], [[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    ]


def test_vectors_come_back_in_the_order_of_the_rows() -> None:
    engine = SumEngine()
    vectors = run_batches(engine, rows(3, 9, 4, 1), dimension=2, pad_token_id=PAD, batch_tokens=12)
    assert angles(vectors) == [3, 9, 4, 1]
    assert [len(ids) for ids, _ in engine.fed] == [1, 3]


def test_a_batch_without_memory_is_halved() -> None:
    engine = SumEngine(memory_rows=2)
    vectors = run_batches(
        engine, rows(1, 2, 3, 4, 5), dimension=2, pad_token_id=PAD, batch_tokens=100
    )
    assert angles(vectors) == [1, 2, 3, 4, 5]
    assert [len(ids) for ids, _ in engine.fed] == [5, 2, 3, 1, 2]


def test_one_row_without_memory_is_an_error() -> None:
    engine = SumEngine(memory_rows=0)
    with pytest.raises(EngineBusyError, match="No memory for 1 rows"):
        run_batches(engine, rows(1, 2), dimension=2, pad_token_id=PAD, batch_tokens=100)


def test_no_rows_need_no_engine() -> None:
    engine = SumEngine()
    vectors = run_batches(engine, [], dimension=2, pad_token_id=PAD, batch_tokens=1)
    assert vectors.shape == (0, 2)
    assert engine.fed == []


def test_a_bad_answer_is_refused_with_its_source() -> None:
    check_engine_output(np.array([[0.6, 0.8]], dtype=np.float32), 1, 2, "engine x")
    with pytest.raises(EngineOutputError) as caught:
        check_engine_output(np.array([[0.6, np.nan]], dtype=np.float32), 1, 2, "engine x")
    assert caught.value.message == (
        "The engine x answered with NaN or infinity in 1 of 1 vectors, first in vector 0; the "
        "vectors were discarded."
    )
