"""The layer analysis, on states whose languages are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_evaluation.layer_analysis import analyse_layers, meeting_site, site_states

if TYPE_CHECKING:
    from pathlib import Path


class TestLayerAnalysis:
    def test_where_languages_meet(self) -> None:
        rng = np.random.default_rng(0)
        meaning = rng.normal(size=(40, 16))
        # Room for the languages' own directions.
        meaning[:, :3] = 0

        def states(noise: float, offset: float) -> dict[str, np.ndarray]:
            return {
                name: meaning + noise * rng.normal(size=meaning.shape) + offset * np.eye(16)[number]
                for number, name in enumerate(("en", "de", "ja"))
            }

        found = analyse_layers(
            {"apart": states(5, 0), "offset": states(0.1, 9), "together": states(0.1, 0)}
        )
        apart, offset, together = found.sites
        assert apart.mexa < 0.2 < 0.95 < together.mexa
        assert offset.r1 > 0.95
        assert together.r1 == 1.0
        assert offset.r1_mixed < 0.1
        assert together.r1_mixed == 1.0
        assert offset.language > 0.95
        assert together.language < 0.6
        assert offset.random_cosine > together.random_cosine
        assert 1 < offset.rank < together.rank <= 16
        assert found.meeting == {"de": 1, "ja": 1}
        assert all(spread < 0.5 for spread in found.meeting_spread.values())

    def test_meeting_site(self) -> None:
        assert meeting_site(np.array([0.0, 0.5, 0.92, 1.0, 0.3])) == 2

    @pytest.mark.parametrize("llm", ["llama", None])
    def test_every_site_of_a_checkpoint(self, tiny: Any, tmp_path: Path, llm: str | None) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(llm=llm, language_rank=2))
        texts = {
            "en": ["The cat sits.", "An archive of the dog."],
            "de": ["Die Katze sitzt.", "Ein Archiv."],
        }
        states = site_states(checkpoint, texts)
        inside = ["connector", "llm 1", "llm 2", "llm out"] if llm else []
        assert list(states) == [
            "encoder 0",
            "encoder 1",
            "encoder 2",
            *inside,
            "output",
            "projected",
        ]
        assert states["encoder 0"]["de"].shape == (2, tiny.HIDDEN)
        from lusifer_training.embedders import checkpoint_embedder

        for site, projected in (("output", False), ("projected", True)):
            expected = checkpoint_embedder(checkpoint, projected=projected)(texts["de"], "query")
            np.testing.assert_allclose(states[site]["de"], expected, atol=1e-5)
