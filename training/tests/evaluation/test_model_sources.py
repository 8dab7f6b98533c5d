"""Models by their source on the command line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_evaluation.model_sources import named_source, open_source
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = ["The cat sits on the mat.", "猫", "archive"]


class TestSources:
    def test_names_of_columns(self) -> None:
        assert named_source("mine=runs/small/checkpoint") == ("mine", "runs/small/checkpoint")
        assert named_source("runs/a=b/checkpoint") == ("runs/a=b/checkpoint",) * 2
        assert named_source("lusifer") == ("lusifer", "lusifer")

    def test_nothing_that_embeds(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is not a model") as caught:
            open_source(str(tmp_path))
        assert "lusifer-unprojected" in caught.value.next_step
        with pytest.raises(ConfigError, match="can't be imported"):
            open_source("no_such_module:embed")

    def test_a_function(self, write_module: Any) -> None:
        write_module(
            "a_model_of_mine",
            "def embed(texts, role):\n    return [[3.0, 4.0 * (role == 'query')] for _ in texts]\n",
        )
        embedder = open_source("a_model_of_mine:embed")
        np.testing.assert_allclose(embedder(TEXTS, "query"), [[0.6, 0.8]] * 3, atol=1e-6)
        np.testing.assert_allclose(embedder(TEXTS, "document"), [[1, 0]] * 3, atol=1e-6)

    def test_a_checkpoint_with_and_without_its_projection(self, tiny: Any, tmp_path: Path) -> None:
        folder = tiny.checkpoint(tmp_path / "c", tiny.config(language_rank=2))
        for source, projected in ((str(folder), True), (f"unprojected:{folder}", False)):
            expected = checkpoint_embedder(folder, projected=projected)
            assert open_source(source).identity == expected.identity
            np.testing.assert_array_equal(
                open_source(source)(TEXTS, "query"), expected(TEXTS, "query")
            )

    def test_a_bundle_and_a_service_of_it(
        self, start_service: Callable[..., Any], tmp_path: Path
    ) -> None:
        from plugin.tests.conftest import make_bundle

        from lusifer.embedding.vectorizer import Vectorizer

        bundle = make_bundle(tmp_path / "staging", tmp_path / "bundle")
        opened = open_source(str(tmp_path / "bundle"))
        assert opened.identity == f"bundle:{bundle.manifest.fingerprint}:onnx"
        served = open_source(start_service(Vectorizer.load(tmp_path / "bundle")).ready().url)
        vectorizer = Vectorizer.load(tmp_path / "bundle")
        for role, expected in (
            ("query", vectorizer.embed_queries(TEXTS).vectors),
            ("document", vectorizer.embed_documents(TEXTS).vectors),
        ):
            np.testing.assert_allclose(opened(TEXTS, role), expected, atol=1e-6)
            np.testing.assert_allclose(served(TEXTS, role), expected, atol=1e-5)
        for each in (vectorizer, opened, served):
            each.close()

    def test_pytorch_waits_until_it_is_needed(self) -> None:
        """Reading a table from the cache takes less time than importing it."""
        modules = "lusifer_evaluation.model_sources, lusifer_evaluation.table"
        code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_sentence_transformers_folder(self, tiny: Any, tmp_path: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules
        from transformers import AutoModel, PreTrainedTokenizerFast

        encoder = tmp_path / "encoder"
        AutoModel.from_pretrained(tiny.encoder_folder("bert")).save_pretrained(encoder)
        PreTrainedTokenizerFast(
            tokenizer_file=str(tiny.tokenizer_file()), pad_token="<pad>", unk_token="<unk>"
        ).save_pretrained(encoder)
        transformer = modules.Transformer(str(encoder))
        model = SentenceTransformer(
            modules=[transformer, modules.Pooling(tiny.HIDDEN, pooling_mode="mean")],
            prompts={"query": "query: ", "document": "passage: "},
            device="cpu",
        )
        model.save(str(tmp_path / "st"))
        embedder = open_source(str(tmp_path / "st"))
        for role in ("query", "document"):
            prompted = [model.prompts[role] + text for text in TEXTS]
            expected = model.encode(prompted, normalize_embeddings=True)
            np.testing.assert_allclose(embedder(TEXTS, role), expected, atol=1e-5)
