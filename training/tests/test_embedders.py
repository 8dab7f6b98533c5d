"""Embedders of checkpoints, raw encoders and raw LLMs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_training.embedders import checkpoint_embedder, raw_encoder_embedder, raw_llm_embedder
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class TestEmbedders:
    @pytest.fixture
    def checkpoint(self, tiny: Any, tmp_path: Path) -> Path:
        return tiny.checkpoint(tmp_path / "c")

    TEXTS = ("The cat sits on the mat.", "猫", "a " * 200, "archive")

    def test_order_and_batches_do_not_matter(self, checkpoint: Path) -> None:
        embedder = checkpoint_embedder(checkpoint)
        together = embedder(self.TEXTS, "query")
        alone = np.concatenate([embedder([text], "query") for text in self.TEXTS])
        assert together.dtype == np.float32
        np.testing.assert_allclose(together, alone, atol=5e-6)
        assert np.abs(embedder(self.TEXTS, "document") - together).max() > 1e-2

    def test_identities_change_with_what_changes_vectors(self, tiny: Any, tmp_path: Path) -> None:
        config = tiny.config()
        changes: list[dict[str, Any]] = [{}, {"query_prompt": "q: "}, {"maximum_tokens": 32}]
        folders = [
            tiny.checkpoint(tmp_path / str(number), config.model_copy(update=change))
            for number, change in enumerate(changes)
        ]
        for make in (checkpoint_embedder, raw_encoder_embedder):
            assert len({make(folder).identity for folder in folders}) == 3
            assert make(folders[0]).identity == make(folders[0]).identity

    def test_identities_change_with_the_weights_of_a_folder(
        self, tiny: Any, tmp_path: Path
    ) -> None:
        """Cached vectors are found by identity: those of the old weights must not be."""
        from lusifer_training.config import BackboneSource

        copy = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "encoder")
        source = BackboneSource(location=f"folder:{copy}", format="huggingface")
        config = tiny.config().model_copy(update={"encoder": source})
        folder = tiny.checkpoint(tmp_path / "c", config)
        makers = (checkpoint_embedder, raw_encoder_embedder)
        before = [make(folder).identity for make in makers]
        weights = copy / "model.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        for make, identity in zip(makers, before, strict=True):
            assert make(folder).identity != identity

    def test_the_raw_encoder_ignores_what_was_trained(self, tiny: Any, tmp_path: Path) -> None:
        from lusifer_training.checkpoint import save_checkpoint

        one = tiny.checkpoint(tmp_path / "trained")
        two = save_checkpoint(tiny.model(trained=False), tmp_path / "untrained", {})
        raw = raw_encoder_embedder(one)(self.TEXTS, "document")
        np.testing.assert_allclose(raw, checkpoint_embedder(two)(self.TEXTS, "document"), atol=1e-6)

    def test_the_raw_llm(self, checkpoint: Path, tiny: Any, tmp_path: Path) -> None:
        embedder = raw_llm_embedder(checkpoint, maximum_tokens=32)
        vectors = embedder(self.TEXTS, "query")
        assert vectors.shape == (4, tiny.LLM_HIDDEN)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        alone = np.concatenate([embedder([text], "query") for text in self.TEXTS])
        np.testing.assert_allclose(vectors, alone, atol=5e-6)
        with pytest.raises(ConfigError, match="has no LLM"):
            raw_llm_embedder(tiny.checkpoint(tmp_path / "e", tiny.config(llm=None)))
