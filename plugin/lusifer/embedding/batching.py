"""Rows of tokens through an engine: batches under a token budget, and a check of every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.validation import vector_fault
from lusifer.errors import EngineBusyError, EngineOutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lusifer.engines.base import Engine

__all__ = ["check_engine_output", "run_batch", "run_batches"]


def run_batches(
    engine: Engine,
    rows: Sequence[NDArray[np.int32]],
    *,
    dimension: int,
    pad_token_id: int,
    batch_tokens: int,
) -> NDArray[np.float32]:
    """Run N rows of token ids and return the vectors in the order of the rows.

    Args:
        engine: Computes the vectors.
        rows: Token ids ``(T_i,)`` of each row.
        dimension: Length D that every vector must have.
        pad_token_id: Fills the rows of a batch up to its longest.
        batch_tokens: Largest number of padded tokens in a batch; a single longer row goes alone.

    Returns:
        Checked unit vectors ``(N, D)``.

    Raises:
        EngineOutputError: An answer has the wrong count or dimension, holds NaN, or has a norm
            other than 1.
        EngineBusyError: There is no memory even for one row.
    """
    vectors = np.empty((len(rows), dimension), dtype=np.float32)
    for batch in _plan_batches([len(row) for row in rows], batch_tokens):
        vectors[batch] = _run_or_halve(
            engine, [rows[index] for index in batch], dimension, pad_token_id
        )
    return vectors


def _plan_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of batches of like length, longest first.

    So a lack of memory shows early, not after an hour.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def _run_or_halve(
    engine: Engine, rows: Sequence[NDArray[np.int32]], dimension: int, pad_token_id: int
) -> NDArray[np.float32]:
    """Run a batch; where memory is short, run its halves one after the other."""
    try:
        return run_batch(engine, rows, dimension=dimension, pad_token_id=pad_token_id)
    except EngineBusyError:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
    # Outside the handler, so that the failed call's arrays are freed before the halves are made.
    return np.concatenate(
        [
            _run_or_halve(engine, part, dimension, pad_token_id)
            for part in (rows[:half], rows[half:])
        ]
    )


def run_batch(
    engine: Engine, rows: Sequence[NDArray[np.int32]], *, dimension: int, pad_token_id: int
) -> NDArray[np.float32]:
    """Run B rows of token ids in one call of the engine, padded to the longest.

    Arguments and result are those of :func:`run_batches`.

    Raises:
        EngineOutputError: The answer failed a check.
        EngineBusyError: There is no memory for a batch of this size.
    """
    longest = max(map(len, rows))
    input_ids = np.full((len(rows), longest), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    vectors = engine.run(input_ids, attention_mask)
    check_engine_output(vectors, len(rows), dimension, f"engine {engine.name}")
    return vectors


def check_engine_output(
    vectors: NDArray[np.float32], rows: int, dimension: int, source: str
) -> None:
    """Refuse an answer that is not R rows of D finite float32 numbers with unit norm.

    Args:
        vectors: The answer, ``(R, D)`` if it is right.
        rows: Number R of rows that were sent.
        dimension: Length D of a vector.
        source: What answered, for the message.

    Raises:
        EngineOutputError: The answer is anything else.
    """
    if fault := vector_fault(vectors, rows, dimension):
        raise EngineOutputError(
            f"The {source} answered with {fault}; the vectors were discarded.",
            next_step="Check the bundle with Bundle.open(path, verify=True); export it again if "
            "this repeats.",
        )
