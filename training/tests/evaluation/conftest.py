"""Evaluation data that the oracle can embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from training.tests.oracle import write_data

from lusifer_evaluation.table import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.tests.oracle import Oracle

    from lusifer_evaluation.table import Scores


@pytest.fixture
def data(tmp_path: Path, write_lines: Any) -> Path:
    return write_data(tmp_path / "data", write_lines)


@pytest.fixture
def scores_of(data: Path, tmp_path: Path) -> Callable[[dict[str, Oracle]], dict[str, Scores]]:
    """Scores of several models on XQuAD and Tatoeba."""

    def score(models: dict[str, Oracle]) -> dict[str, Scores]:
        return {
            name: evaluate(
                embedder,
                data_folder=data,
                cache_folder=tmp_path / "cache",
                tasks=["xquad", "tatoeba"],
            )
            for name, embedder in models.items()
        }

    return score
