"""Teachers of stage 2: a checkpoint, and vectors of any model in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import DataError
from lusifer_training.objectives.teacher import load_teacher
from lusifer_training.trainer.distributed import Distributed

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["The cat sits on the mat.", "A library", "the dog runs in the park " * 3]


def test_a_checkpoint_gives_its_vectors(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.checkpoint(tmp_path / "checkpoint", tiny.config(language_rank=2))
    teacher = load_teacher(str(folder), Distributed())
    for role in ("query", "document"):
        vectors = teacher(TEXTS, role)
        expected = torch.from_numpy(checkpoint_embedder(folder)(TEXTS, role))
        torch.testing.assert_close(vectors, expected, rtol=0, atol=5e-6)
        assert not vectors.requires_grad


def test_a_file_gives_unit_vectors_of_its_texts(tmp_path: Path, write_lines: Any) -> None:
    lines = [{"text": "a", "vector": [3, 4]}, {"text": "b", "vector": [0.0, 0.5]}]
    teacher = load_teacher(str(write_lines(tmp_path / "vectors.jsonl.gz", lines)), Distributed())
    torch.testing.assert_close(
        teacher(["b", "a", "b"], "query"), torch.tensor([[0, 1], [0.6, 0.8], [0, 1]])
    )
    with pytest.raises(DataError, match="no vector of 'cat'") as caught:
        teacher(["a", "cat"], "document")
    assert "Embed every text" in caught.value.next_step


@pytest.mark.parametrize(
    "vector", [[0.0, 0.0], [1.0, float("nan")], [1.0], ["1", "2"], "12", [], [1e39, 1]]
)
def test_a_vector_without_direction_is_named(vector: Any, tmp_path: Path, write_lines: Any) -> None:
    path = write_lines(
        tmp_path / "vectors.jsonl",
        [{"text": "a", "vector": [1, 0]}, {"text": "b", "vector": vector}],
    )
    with pytest.raises(DataError, match=r"line 2: vector is .*expected a list of 2 numbers"):
        load_teacher(str(path), Distributed())


def test_an_empty_file_is_no_teacher(tmp_path: Path, write_lines: Any) -> None:
    with pytest.raises(DataError, match="has no vectors"):
        load_teacher(str(write_lines(tmp_path / "vectors.jsonl", [])), Distributed())
    with pytest.raises(DataError, match="no data file"):
        load_teacher(str(tmp_path / "gone.jsonl"), Distributed())
