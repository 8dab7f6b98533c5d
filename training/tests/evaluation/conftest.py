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


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module that can be imported."""

    def write(name: str, source: str) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    return write
