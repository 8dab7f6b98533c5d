"""Both stages, one after the other, from a recipe to a checkpoint folder."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.checkpoint import save_checkpoint, trained_parameters
from lusifer_training.data.batches import PairSampler, TextSampler, tokenize, within_budget
from lusifer_training.errors import CheckpointError, ConfigError
from lusifer_training.model.lusifer import build_model
from lusifer_training.objectives.alignment import AlignmentObjective
from lusifer_training.objectives.contrastive import FinetuneObjective
from lusifer_training.objectives.reconstruction import ReconstructionObjective
from lusifer_training.objectives.teacher import load_teacher
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.loop import TrainingLoop, out_of_memory
from lusifer_training.trainer.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from lusifer_training.data.batches import PairBatch
    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import AlignRecipe, FinetuneRecipe, Recipe
    from lusifer_training.trainer.validation import Validation

__all__ = ["KEPT", "identity_of", "interpolate", "standard_batches", "train", "what_fits"]

_log = logging.getLogger(__name__)

STAGES = ("align", "finetune")
KEPT = ("interpolation", "head_interpolation")
"""Of a recipe: what is decided after training."""
T = TypeVar("T")


def train(
    recipe: Recipe, *, data_folder: Path, run_folder: Path, stages: Sequence[str] = STAGES
) -> Path:
    """Train, or go on with a run that was killed.

    Args:
        recipe: Model, data and both stages.
        data_folder: Holds the files the recipe names.
        run_folder: Of this run: states to resume from, metrics, and at the end ``checkpoint/``.
        stages: ``align``, ``finetune`` or both. ``finetune`` alone starts from the ``align`` of the
            same run folder, if the recipe has one, and ends that first if it was killed.

    Returns:
        The checkpoint folder, or after ``align`` alone the folder of its state.

    Raises:
        TrainingError: Backbones, data or recipe can't be used, or the loss diverged.
    """
    started = time.monotonic()
    if "align" in stages and not recipe.align and len(stages) == 1:
        raise ConfigError("The recipe has no stage 1.", next_step="Add an align section.")
    if (
        recipe.align
        and "align" not in stages
        and not RunState(run_folder / "align", keep=1).paths()
    ):
        raise CheckpointError(
            f"{run_folder} holds no stage 1 to start from.",
            next_step="Run lusifer train align into the same run folder, or lusifer train all.",
        )
    torch.manual_seed(recipe.seed)
    engine = Distributed()
    writes = recipe.align is not None and recipe.align.objective == "reconstruction"
    model = build_model(
        recipe.model, keep_token_table=recipe.align is not None, keep_lm_head=writes
    )
    engine.shard(model.transformer_layers(), trained_parameters(model).values())
    model.train().to(engine.device)
    run = _Run(
        recipe,
        model,
        load_tokenizer(recipe.model.tokenizer),
        PairSampler(recipe, data_folder),
        engine,
    )
    if recipe.loop.probe_every:
        # With the evaluation's metrics comes scikit-learn, which training has no other use for.
        from lusifer_training.trainer.validation import Validation

        run.probe = Validation(model, run.tokenizer, data_folder, pairs=recipe.loop.probe_pairs)
    report: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "data": run.sampler.report,
        "dtype": str(engine.dtype).removeprefix("torch."),
        "processes": engine.world,
        "stages": {},
    }
    if recipe.align:
        report["stages"]["align"] = run.align(recipe.align, run_folder / "align")
    if "finetune" not in stages:
        return run_folder / "align"
    report["stages"]["finetune"] = run.finetune(recipe.finetune, run_folder / "finetune")
    report["seconds"] = round(time.monotonic() - started)
    if engine.is_main:
        save_checkpoint(model, run_folder / "checkpoint", report)
    engine.wait()
    return run_folder / "checkpoint"


@dataclass
class _Run:
    recipe: Recipe
    model: Lusifer
    tokenizer: Tokenizer
    sampler: PairSampler
    engine: Distributed
    probe: Validation | None = None

    def align(self, stage: AlignRecipe, folder: Path) -> dict[str, Any]:
        llm_tokenizer = load_llm_tokenizer(self.recipe.model.llm)
        texts = TextSampler(self.sampler)

        def own(drawn: list[T], text_of: Callable[[T], str]) -> list[T]:
            rows = tokenize(self.tokenizer, list(map(text_of, drawn)), stage.maximum_tokens)
            within = within_budget(list(map(len, rows)), stage.batch_tokens)
            return self.engine.share(drawn[:within])

        if stage.objective == "reading":
            reading = AlignmentObjective(
                self.model,
                self.tokenizer,
                llm_tokenizer,
                maximum_tokens=stage.maximum_tokens,
                train_encoder=stage.train_encoder,
            )

            def losses_of(batch: int, size: int) -> dict[str, Tensor]:
                with self.engine.autocast():
                    return reading(own(texts.batch(batch, size), str))

        else:
            writing = ReconstructionObjective(
                self.model, self.tokenizer, llm_tokenizer, stage, seed=self.recipe.seed
            )

            def losses_of(batch: int, size: int) -> dict[str, Tensor]:
                with self.engine.autocast():
                    return writing(own(texts.pairs(batch, size), lambda pair: pair.document), batch)

        parts = ("connector.", "encoder.") if stage.train_encoder else ("connector.",)
        parameters = {
            name: value
            for name, value in trained_parameters(self.model).items()
            if name.startswith(parts)
        }
        loop = TrainingLoop(
            folder,
            parameters,
            dict.fromkeys(parameters, stage.learning_rate),
            steps=stage.steps,
            identity=identity_of(self.recipe, "finetune", *KEPT),
            recipe=self.recipe.loop,
            engine=self.engine,
            advice=lambda batch: what_fits(
                losses_of,
                batch,
                stage.batch_texts,
                "align.batch_texts",
                "loop.accumulation",
                self.engine,
            ),
        )
        _log.info(
            "stage 1, alignment: %d trained parameters, %s", _count(parameters), self.engine.dtype
        )

        # Else what is trained only in stage 2 would gather gradients here, and start there with
        # them.
        with _frozen(
            value
            for name, value in trained_parameters(self.model).items()
            if name not in parameters
        ):
            losses = loop.run(lambda batch: losses_of(batch, stage.batch_texts))
        # The teacher has done its work; stage 2 and inference have no use for token table and head.
        self.model.llm.token_table = self.model.llm.lm_head = None
        return _summary(losses)

    def finetune(self, stage: FinetuneRecipe, folder: Path) -> dict[str, Any]:
        teacher = load_teacher(stage.teacher, self.engine) if stage.teacher else None
        objective = FinetuneObjective(self.model, self.tokenizer, stage, self.engine, teacher)
        parameters = trained_parameters(self.model)
        rates = {
            name: stage.learning_rate if "lora_" in name else stage.new_learning_rate
            for name in parameters
        }

        def losses_of(batch: int, size: int) -> dict[str, Tensor]:
            return objective(self.sampler.batch(batch, size))

        loop = TrainingLoop(
            folder,
            parameters,
            rates,
            steps=stage.steps,
            identity=identity_of(self.recipe, *KEPT),
            recipe=self.recipe.loop,
            engine=self.engine,
            describe=lambda batch: self.sampler.batch(batch, stage.batch_pairs).describe(),
            advice=lambda batch: what_fits(
                losses_of,
                batch,
                stage.batch_pairs,
                "finetune.batch_pairs",
                "finetune.gradient_cache",
                self.engine,
            ),
            probe=self.probe,
        )
        _log.info(
            "stage 2, finetuning: %d trained parameters, %s", _count(parameters), self.engine.dtype
        )
        with objective.standardised_head(standard_batches(self.sampler, stage)):
            losses = loop.run(lambda batch: losses_of(batch, stage.batch_pairs))
            # Before the mean is taken: the LLM reads what is kept of the encoder's change.
            interpolate(self.model, *self.recipe.shares)
        return _summary(losses)


def what_fits(
    losses_of: Callable[[int, int], dict[str, Tensor]],
    batch: int,
    size: int,
    key: str,
    instead: str,
    engine: Distributed | None = None,
) -> str:
    """What to change in a recipe whose batch doesn't fit into memory; smaller ones are tried.

    Args:
        losses_of: Losses by batch number and size.
        batch: Its number.
        size: The recipe's.
        key: Where the recipe has it.
        instead: What else helps.
        engine: Of the processes; the others wait for this one, and it must not wait for them.
    """
    engine, fits = engine or Distributed(), size // 2
    if engine.sharded:
        # No layer runs here without the others' weights.
        return f"Change the recipe: try {key} {max(2, fits)}, or {instead}."
    while fits > 1:
        try:
            with engine.alone():
                losses_of(batch, fits)["loss"].backward()
            break
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Out of the handler, whose traceback keeps the batch's tensors.
        fits //= 2
    found = f"{key} {fits} fits" if fits > 1 else "not even two fit"
    return f"Change the recipe: {found}; or try {instead}."


def standard_batches(sampler: PairSampler, stage: FinetuneRecipe) -> list[PairBatch]:
    """Batches to take the head's standard from: a thousand texts of several datasets are enough."""
    return [sampler.batch(at, min(stage.batch_pairs, 64)) for at in range(8)]


def interpolate(model: Lusifer, share: float, head_share: float) -> None:
    """Keep a share of what training changed in the vector; the rest is the raw encoder (WiSE-FT).

    The encoder's LoRA and the head are the two ways into the vector, and both start at zero.

    Args:
        model: Trained; changed in place.
        share: Of the encoder's LoRA.
        head_share: Of the head.
    """
    with torch.no_grad():
        for name, value in trained_parameters(model).items():
            if name.startswith("head."):
                value.mul_(head_share)
            elif name.startswith("encoder.") and "lora_B" in name:
                value.mul_(share)


@contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within the block: no gradients for these parameters."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def identity_of(recipe: Recipe, *without: str) -> str:
    """What a stage's state depends on: a change of a later stage doesn't cost an earlier one."""
    # How often a run is saved or probed changes nothing in it.
    bookkeeping = {"save_every", "keep_states", "probe_every", "probe_pairs"}
    exclude: Any = {**dict.fromkeys(without, True), "loop": bookkeeping}
    return hashlib.sha256(recipe.model_dump_json(exclude=exclude).encode()).hexdigest()


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(value.numel() for value in parameters.values())


def _summary(losses: list[float]) -> dict[str, Any]:
    tail = losses[-20:]
    return {
        "steps": len(losses),
        "first_loss": round(losses[0], 4),
        "last_loss": round(sum(tail) / len(tail), 4),
    }
