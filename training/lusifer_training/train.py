"""Both stages, one after the other, from a recipe to a checkpoint folder."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any

import torch

from lusifer_training.align import AlignmentObjective
from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.checkpoint import save_checkpoint, trained_parameters
from lusifer_training.data.batches import PairSampler, TextSampler
from lusifer_training.errors import ConfigError
from lusifer_training.finetune import FinetuneObjective
from lusifer_training.loop import TrainingLoop
from lusifer_training.model.lusifer import build_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import Recipe

__all__ = ["interpolate", "train"]

_log = logging.getLogger(__name__)


def train(recipe: Recipe, *, data_folder: Path, run_folder: Path) -> Path:
    """Train, or go on with a run that was killed.

    Args:
        recipe: Model, data and both stages.
        data_folder: Holds the files the recipe names.
        run_folder: Of this run: states to resume from, metrics, and at the end ``checkpoint/``.

    Returns:
        The checkpoint folder.

    Raises:
        TrainingError: Backbones, data or recipe can't be used, or the loss diverged.
    """
    started = time.monotonic()
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model, keep_token_table=recipe.align is not None).train()
    tokenizer = load_tokenizer(recipe.model.tokenizer)
    pairs = PairSampler(recipe, data_folder)
    report: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "data": {name: len(each) for name, each in pairs.pairs.items()},
        "stages": {},
    }
    if recipe.align:
        report["stages"]["align"] = _align(model, tokenizer, recipe, pairs, run_folder / "align")
    report["stages"]["finetune"] = _finetune(model, tokenizer, recipe, pairs, run_folder / "finetune")
    interpolate(model, recipe.interpolation)
    report["seconds"] = round(time.monotonic() - started)
    return save_checkpoint(model, run_folder / "checkpoint", report)


def _align(
    model: Lusifer, tokenizer: Any, recipe: Recipe, pairs: PairSampler, folder: Path
) -> dict[str, Any]:
    stage = recipe.align
    if stage is None:
        raise ConfigError("The recipe has no stage 1.", next_step="Add an align section.")
    objective = AlignmentObjective(
        model,
        tokenizer,
        load_llm_tokenizer(recipe.model.llm),
        maximum_tokens=stage.maximum_tokens,
        train_encoder=stage.train_encoder,
    )
    texts = TextSampler(pairs)
    parts = ("connector.", "encoder.") if stage.train_encoder else ("connector.",)
    parameters = {name: value for name, value in trained_parameters(model).items() if name.startswith(parts)}
    _log.info("stage 1, alignment: %d trained parameters", _count(parameters))
    loop = TrainingLoop(
        folder,
        parameters,
        dict.fromkeys(parameters, stage.learning_rate),
        steps=stage.steps,
        identity=_identity(recipe, "finetune", "interpolation"),
    )
    losses = loop.run(lambda step: objective(texts.batch(step, stage.batch_texts)))
    # The teacher has done its work; stage 2 and inference have no use for the token table.
    model.llm.token_table = None
    return _summary(losses)


def _finetune(
    model: Lusifer, tokenizer: Any, recipe: Recipe, pairs: PairSampler, folder: Path
) -> dict[str, Any]:
    stage = recipe.finetune
    objective = FinetuneObjective(model, tokenizer, stage)
    parameters = trained_parameters(model)
    rates = {name: stage.learning_rate if "lora_" in name else stage.new_learning_rate for name in parameters}
    _log.info("stage 2, finetuning: %d trained parameters", _count(parameters))
    loop = TrainingLoop(
        folder, parameters, rates, steps=stage.steps, identity=_identity(recipe, "interpolation")
    )
    return _summary(loop.run(lambda step: objective(pairs.batch(step, stage.batch_pairs))))


def interpolate(model: Lusifer, share: float) -> None:
    """Keep a share of what training changed in the vector; the rest is the raw encoder (WiSE-FT).

    The encoder's LoRA and the head are the two ways into the vector, and both start at zero.
    """
    with torch.no_grad():
        for name, value in trained_parameters(model).items():
            if name.startswith("head.") or (name.startswith("encoder.") and "lora_B" in name):
                value.mul_(share)


def _identity(recipe: Recipe, *without: str) -> str:
    """What a stage's state depends on: a change of a later stage doesn't cost an earlier one."""
    return hashlib.sha256(recipe.model_dump_json(exclude=set(without)).encode()).hexdigest()


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(value.numel() for value in parameters.values())


def _summary(losses: list[float]) -> dict[str, Any]:
    tail = losses[-20:]
    return {
        "steps": len(losses),
        "first_loss": round(losses[0], 4),
        "last_loss": round(sum(tail) / len(tail), 4),
    }
