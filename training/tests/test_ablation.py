"""The ablation's rows: what is left out is out, and the LLM alone starts as the raw LLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks import ablate
from torch.nn.functional import normalize

from lusifer_training.checkpoint import load_checkpoint, save_checkpoint
from lusifer_training.embedders import raw_llm_embedder
from lusifer_training.model.connector import Connector
from lusifer_training.model.lusifer import build_model
from lusifer_training.recipe import load_recipe

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TEXTS = ["A library of archive formats.", "The cat sits on the mat.", "the dog"]


def recipe_of(config: pytest.Config) -> Any:
    return load_recipe(config.rootpath / "training" / "configs" / "tiny.yaml")


def test_one_part_less_each(pytestconfig: pytest.Config) -> None:
    recipe = ablate.at_budget(recipe_of(pytestconfig), 3, 5)
    variants = ablate.variants(recipe)
    assert (recipe.align.steps, recipe.align.batch_texts) == (3, 5)
    assert (recipe.finetune.steps, recipe.finetune.batch_pairs) == (3, 5)
    assert {variant.finetune for variant in variants.values()} == {recipe.finetune}
    assert variants["encoder only"].model.llm is None
    assert [name for name, each in variants.items() if each.align is None] == [
        "encoder only",
        "without stage 1",
    ]
    assert not variants["without residual"].model.residual
    assert variants["without encoder LoRA"].model.encoder_lora is None


def test_the_llm_alone_starts_as_the_raw_llm_and_learns(
    tiny: Any, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    recipe = ablate.at_budget(recipe_of(pytestconfig), 20, 8)
    recipe = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"query_prompt": "", "document_prompt": ""})
        }
    )
    raw = raw_llm_embedder(save_checkpoint(tiny.model(recipe.model), tmp_path / "checkpoint", {}))
    untrained = ablate.LlmAlone(recipe.model).eval()
    before = ablate.LlmAloneEmbedder(untrained)(TEXTS, "query")
    np.testing.assert_allclose(before, raw(TEXTS, "query"), rtol=0, atol=1e-5)

    trained = ablate.LlmAloneEmbedder(ablate.train_llm_alone(recipe, tmp_path, tmp_path / "run"))
    after = trained(TEXTS, "query")
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
    # Run again, it is read from its last state.
    again = ablate.LlmAloneEmbedder(ablate.train_llm_alone(recipe, tmp_path, tmp_path / "run"))
    assert again.identity == trained.identity


def test_a_turned_connector_changes_nothing_but_length() -> None:
    torch.manual_seed(0)
    connector = Connector(32, 80, 48, embedding_rms=0.1)
    ablate.turn(connector, times=5.0)
    states = torch.randn(2, 7, 32)
    inputs = connector(states)
    torch.testing.assert_close(
        inputs.pow(2).mean(dim=-1).sqrt(), torch.full((2, 7), 0.5), rtol=1e-4, atol=0
    )
    normed = normalize(connector.input_norm(states), dim=-1)
    turned = normalize(inputs, dim=-1)
    torch.testing.assert_close(turned @ turned.mT, normed @ normed.mT, rtol=0, atol=1e-5)


def test_a_turned_model_is_trained_and_kept(
    tiny: Any, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    recipe = ablate.variants(ablate.at_budget(recipe_of(pytestconfig), 4, 8))["without stage 1"]
    model = recipe.model.model_copy(
        update={"connector_hidden": 2 * tiny.model(recipe.model).encoder.hidden_size}
    )
    recipe = recipe.model_copy(update={"model": model})
    folder = ablate.train_turned(recipe, tmp_path, tmp_path / "run")
    assert (
        load_checkpoint(folder).connector.gain.item()
        > 10 * build_model(model).connector.gain.item()
    )
