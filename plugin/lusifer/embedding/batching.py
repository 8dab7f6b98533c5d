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

__all__ = ["check_vectors", "run_batch", "run_batches"]


def run_batches(
    engine: Engine,
    rows: Sequence[NDArray[np.int32]],
    *,
    dimension: int,
    pad_token_id: int,
    batch_tokens: int,
) -> NDArray[np.float32]:
    """Run N rows of token ids and put the vectors back in the order of the rows.

    Args:
        engine: What computes.
        rows: Token ids ``(T_i,)`` of each row.
        dimension: Length D every vector must have.
        pad_token_id: Fills the rows of a batch up to its longest.
        batch_tokens: Most padded tokens in a batch; a single longer row still goes alone.

    Returns:
        ``(N, D)`` checked unit vectors.

    Raises:
        EngineOutputError: An answer has the wrong count or dimension, holds NaN, or has a norm
            other than 1.
        EngineBusyError: No memory even for one row.
    """
    vectors = np.empty((len(rows), dimension), dtype=np.float32)
    for batch in _plan([len(row) for row in rows], batch_tokens):
        vectors[batch] = _run(engine, [rows[index] for index in batch], dimension, pad_token_id)
    return vectors


def _plan(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first: memory trouble shows early, not after an hour."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def _run(
    engine: Engine, rows: Sequence[NDArray[np.int32]], dimension: int, pad_token_id: int
) -> NDArray[np.float32]:
    try:
        return run_batch(engine, rows, dimension=dimension, pad_token_id=pad_token_id)
    except EngineBusyError:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
    # Outside the handler, so that the failed call's arrays can be freed before the smaller ones are
    # made.
    return np.concatenate(
        [_run(engine, part, dimension, pad_token_id) for part in (rows[:half], rows[half:])]
    )


def run_batch(
    engine: Engine, rows: Sequence[NDArray[np.int32]], *, dimension: int, pad_token_id: int
) -> NDArray[np.float32]:
    """Run B rows of token ids in one call of the engine, padded to the longest, and check the answer.

    Args and Returns are those of :func:`run_batches`.

    Raises:
        EngineOutputError: The answer failed a check.
        EngineBusyError: No memory for a batch of this size.
    """
    longest = max(map(len, rows))
    input_ids = np.full((len(rows), longest), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    vectors = engine.run(input_ids, attention_mask)
    check_vectors(vectors, len(rows), dimension, f"engine {engine.name}")
    return vectors


def check_vectors(vectors: NDArray[np.float32], rows: int, dimension: int, source: str) -> None:
    """Let no vectors pass but R rows of D finite float32 numbers and unit norm.

    Args:
        vectors: What was answered, ``(R, D)`` if it is right.
        rows: How many R were asked for.
        dimension: Length D of a vector.
        source: Who answered, for the message.

    Raises:
        EngineOutputError: The answer is anything else.
    """
    if fault := vector_fault(vectors, rows, dimension):
        raise EngineOutputError(
            f"The {source} answered with {fault}; the vectors were thrown away.",
            next_step="Check the bundle with Bundle.open(path, verify=True); export it again if this "
            "repeats.",
        )
