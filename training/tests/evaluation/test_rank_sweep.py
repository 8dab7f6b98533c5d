"""A language offset that the projection repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from training.tests.oracle import MONOLINGUAL, Oracle, write_data

from lusifer_evaluation.rank_sweep import sweep_ranks
from lusifer_evaluation.tasks import load_xquad
from lusifer_training.language_subspace import (
    language_basis,
    language_means,
)

if TYPE_CHECKING:
    from pathlib import Path


class TestSweepRanks:
    def test_a_pure_language_offset_is_repaired(self, tmp_path: Path, write_lines: Any) -> None:
        """The offset harms the mixed pool, not pairs of languages; the projection repairs the pool."""
        embedder = Oracle(offset=3.0)
        basis = language_basis(language_means(embedder, MONOLINGUAL), rank=2)
        np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-6)
        sets = load_xquad(write_data(tmp_path, write_lines))
        rows = sweep_ranks(embedder, sets, language_means(embedder, MONOLINGUAL), [1, 2])
        assert rows["raw"]["different"] > 85
        # Its own paragraph is first, those of the other languages come after all other German ones.
        assert rows["raw"]["map"] < 60
        assert rows["r = 2"]["map"] > 95
        assert rows["de-meaned"]["map"] > 95
        assert rows["raw"]["map"] < rows["r = 1"]["map"] < rows["r = 2"]["map"]
        assert rows["r = 2"]["worst_change"] >= -1
