"""The cache of vectors: chunks, and models that return nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer_training.errors import DataError
from lusifer_training.vector_cache import CachedEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TestCachedEmbedder:
    def test_like_lengths_are_embedded_together(self, tmp_path: Path) -> None:
        """Long chunks, so that batches hold texts of like length, but no more text than half a minute."""

        class Sizes:
            identity = "sizes"

            def __init__(self) -> None:
                self.chunks: list[list[int]] = []

            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                self.chunks.append([len(text) for text in texts])
                return np.ones((len(texts), 1))

        texts = [f"{n:04}" for n in range(3000)] + [f"{n}".rjust(90_000) for n in range(3)]
        embedder = Sizes()
        CachedEmbedder(tmp_path, embedder)(texts[::-1] + texts, "query")
        assert [len(chunk) for chunk in embedder.chunks] == [2048, 954, 1]
        assert [length for chunk in embedder.chunks for length in chunk] == sorted(map(len, texts))

    @pytest.mark.parametrize("wrong", [np.zeros((1, 2)), np.full((2, 4), np.nan)])
    def test_a_model_that_answers_nonsense(self, wrong: np.ndarray, tmp_path: Path) -> None:
        class Broken:
            identity = "broken"

            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                return wrong

        with pytest.raises(DataError, match="not all of them are finite"):
            CachedEmbedder(tmp_path, Broken())(["a", "b"], "query")
