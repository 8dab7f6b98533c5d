"""Run both stages one after the other, from a recipe to a checkpoint folder."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from lusifer_training.backbones.load import load_llm_tokenizer, load_tokenizer
from lusifer_training.backbones.source import folder_identities
from lusifer_training.checkpoint import save_checkpoint, trained_parameters
from lusifer_training.data.batches import PairSampler, TextSampler
from lusifer_training.errors import CheckpointError, ConfigError
from lusifer_training.memory import is_out_of_memory
from lusifer_training.model.lusifer import build_model
from lusifer_training.objectives.alignment import AlignmentObjective
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.objectives.reconstruction import ReconstructionObjective
from lusifer_training.objectives.teacher import load_teacher
from lusifer_training.token_rows import tokenize, within_budget
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.loop import TrainingLoop
from lusifer_training.trainer.run_state import RunStates
from lusifer_training.trainer.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from lusifer_training.data.batches import PairBatch
    from lusifer_training.model.lusifer import Lusifer
    from lusifer_training.recipe import AlignRecipe, FinetuneRecipe, Recipe

__all__ = ["KEPT", "identity_of", "interpolate", "standard_batches", "train", "what_fits"]

_log = logging.getLogger(__name__)

STAGES = ("align", "finetune")
KEPT = ("interpolation", "head_interpolation")
"""Keys of a recipe that take effect after training."""
STANDARD_BATCHES = 8
STANDARD_PAIRS = 64
TAIL_STEPS = 20
"""Steps whose mean is reported as the last loss."""

T = TypeVar("T")
LossesOfSize: TypeAlias = "Callable[[int, int], dict[str, Tensor]]"
"""Returns losses by batch number and batch size."""


def train(
    recipe: Recipe, *, data_folder: Path, run_folder: Path, stages: Sequence[str] = STAGES
) -> Path:
    """Train a model, or resume a run that was killed.

    Args:
        recipe: Model, data and both stages.
        data_folder: Holds the files that the recipe names.
        run_folder: Folder of this run: states to resume from, metrics, and at the end
            ``checkpoint/``.
        stages: ``align``, ``finetune`` or both. ``finetune`` alone starts from the ``align`` of the
            same run folder, if the recipe has one, and finishes that first if it was killed.

    Returns:
        The checkpoint folder, or after ``align`` alone the folder of its state.

    Raises:
        TrainingError: Backbones, data or recipe can't be used, or the loss diverged.
    """
    started = time.monotonic()
    _check_stages(recipe, run_folder, stages)
    torch.manual_seed(recipe.seed)
    run = _open_run(recipe, data_folder)
    stage_reports: dict[str, object] = {}
    if recipe.align:
        stage_reports["align"] = run.align(recipe.align, run_folder / "align")
    if "finetune" not in stages:
        return run_folder / "align"
    stage_reports["finetune"] = run.finetune(recipe.finetune, run_folder / "finetune")
    report: dict[str, object] = {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "data": run.sampler.report,
        "dtype": str(run.distributed.dtype).removeprefix("torch."),
        "processes": run.distributed.world,
        "stages": stage_reports,
        "seconds": round(time.monotonic() - started),
    }
    if run.distributed.is_main:
        save_checkpoint(run.model, run_folder / "checkpoint", report)
    run.distributed.wait()
    return run_folder / "checkpoint"


def _check_stages(recipe: Recipe, run_folder: Path, stages: Sequence[str]) -> None:
    if "align" in stages and not recipe.align and len(stages) == 1:
        raise ConfigError("The recipe has no stage 1.", next_step="Add an align section.")
    if (
        recipe.align
        and "align" not in stages
        and not RunStates(run_folder / "align", keep=1).paths()
    ):
        raise CheckpointError(
            f"{run_folder} holds no stage 1 to start from.",
            next_step="Run lusifer train align into the same run folder, or lusifer train all.",
        )


def _open_run(recipe: Recipe, data_folder: Path) -> _Run:
    distributed = Distributed()
    reconstructs = recipe.align is not None and recipe.align.objective == "reconstruction"
    model = build_model(
        recipe.model, keep_token_table=recipe.align is not None, keep_lm_head=reconstructs
    )
    distributed.shard(model.transformer_layers(), trained_parameters(model).values())
    model.train().to(distributed.device)
    tokenizer = load_tokenizer(recipe.model.tokenizer)
    run = _Run(recipe, model, tokenizer, PairSampler(recipe, data_folder), distributed)
    if recipe.loop.probe_every:
        run.validation = Validation(model, tokenizer, data_folder, pairs=recipe.loop.probe_pairs)
    return run


@dataclass
class _Run:
    recipe: Recipe
    model: Lusifer
    tokenizer: Tokenizer
    sampler: PairSampler
    distributed: Distributed
    validation: Validation | None = None

    def align(self, stage: AlignRecipe, folder: Path) -> dict[str, float]:
        losses_of = self._align_losses(stage)
        parts = ("connector.", "encoder.") if stage.train_encoder else ("connector.",)
        trained = trained_parameters(self.model)
        parameters = {name: value for name, value in trained.items() if name.startswith(parts)}
        loop = TrainingLoop(
            folder,
            parameters,
            dict.fromkeys(parameters, stage.learning_rate),
            steps=stage.steps,
            identity=identity_of(self.recipe, "finetune", *KEPT),
            recipe=self.recipe.loop,
            distributed=self.distributed,
            advice=lambda batch: what_fits(
                losses_of,
                batch,
                stage.batch_texts,
                "align.batch_texts",
                "loop.accumulation",
                self.distributed,
            ),
        )
        self._log_start("stage 1, alignment", parameters)
        # Otherwise the parameters of stage 2 would gather gradients here and start with them.
        with _frozen(value for name, value in trained.items() if name not in parameters):
            losses = loop.run(lambda batch: losses_of(batch, stage.batch_texts))
        # Stage 2 and inference use neither token table nor LM head.
        if self.model.llm is not None:
            self.model.llm.token_table = self.model.llm.lm_head = None
        return _summary(losses)

    def finetune(self, stage: FinetuneRecipe, folder: Path) -> dict[str, float]:
        teacher = load_teacher(stage.teacher, self.distributed) if stage.teacher else None
        objective = FinetuneObjective(self.model, self.tokenizer, stage, self.distributed, teacher)
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
            distributed=self.distributed,
            describe=lambda batch: self.sampler.batch(batch, stage.batch_pairs).describe(),
            advice=lambda batch: what_fits(
                losses_of,
                batch,
                stage.batch_pairs,
                "finetune.batch_pairs",
                "finetune.gradient_cache",
                self.distributed,
            ),
            validate=self.validation,
        )
        self._log_start("stage 2, finetuning", parameters)
        with objective.standardised_head(standard_batches(self.sampler, stage)):
            losses = loop.run(lambda batch: losses_of(batch, stage.batch_pairs))
            # Before the mean is taken: the LLM reads the kept share of the encoder's change.
            interpolate(self.model, *self.recipe.shares)
        return _summary(losses)

    def _align_losses(self, stage: AlignRecipe) -> LossesOfSize:
        if self.recipe.model.llm is None:
            raise ConfigError("Stage 1 needs an LLM.", next_step="Remove the align section.")
        llm_tokenizer = load_llm_tokenizer(self.recipe.model.llm)
        texts = TextSampler(self.sampler)
        if stage.objective == "reading":
            reading = AlignmentObjective(
                self.model,
                self.tokenizer,
                llm_tokenizer,
                maximum_tokens=stage.maximum_tokens,
                train_encoder=stage.train_encoder,
            )

            def reading_losses(batch: int, size: int) -> dict[str, Tensor]:
                with self.distributed.autocast():
                    return reading(self._own_share(stage, texts.batch(batch, size), str))

            return reading_losses
        reconstruction = ReconstructionObjective(
            self.model, self.tokenizer, llm_tokenizer, stage, seed=self.recipe.seed
        )

        def reconstruction_losses(batch: int, size: int) -> dict[str, Tensor]:
            pairs = texts.pairs(batch, size)
            with self.distributed.autocast():
                own = self._own_share(stage, pairs, lambda pair: pair.document)
                return reconstruction(own, batch)

        return reconstruction_losses

    def _own_share(
        self, stage: AlignRecipe, drawn: list[T], text_of: Callable[[T], str]
    ) -> list[T]:
        rows = tokenize(self.tokenizer, list(map(text_of, drawn)), stage.maximum_tokens)
        within = within_budget(list(map(len, rows)), stage.batch_tokens)
        return self.distributed.share(drawn[:within])

    def _log_start(self, stage: str, parameters: dict[str, nn.Parameter]) -> None:
        count = sum(value.numel() for value in parameters.values())
        _log.info("%s: %d trained parameters, %s", stage, count, self.distributed.dtype)


def what_fits(
    losses_of: LossesOfSize,
    batch: int,
    size: int,
    key: str,
    instead: str,
    distributed: Distributed | None = None,
) -> str:
    """Try smaller batches, and return what to change in a recipe whose batch doesn't fit.

    Args:
        losses_of: Returns losses by batch number and size.
        batch: Number of the batch.
        size: Batch size in the recipe.
        key: Key of the batch size in the recipe.
        instead: Key of another setting that saves memory.
        distributed: The processes. The others wait for this one, so it must not wait for them.
    """
    distributed, fits = distributed or Distributed(), size // 2
    if distributed.sharded:
        # No layer runs here without the weights of the other processes.
        return f"Change the recipe: try {key} {max(2, fits)}, or {instead}."
    while fits > 1:
        try:
            with distributed.alone():
                torch.autograd.backward(losses_of(batch, fits)["loss"])
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback keeps the batch's tensors.
        fits //= 2
    found = f"{key} {fits} fits" if fits > 1 else "not even two fit"
    return f"Change the recipe: {found}; or try {instead}."


def standard_batches(sampler: PairSampler, stage: FinetuneRecipe) -> list[PairBatch]:
    """Return the batches that the head's mean and spread are taken from.

    They are about a thousand texts of several datasets.
    """
    size = min(stage.batch_pairs, STANDARD_PAIRS)
    return [sampler.batch(at, size) for at in range(STANDARD_BATCHES)]


def interpolate(model: Lusifer, share: float, head_share: float) -> None:
    """Keep a share of what training changed; the rest stays the raw encoder (WiSE-FT, 2109.01903).

    The encoder's LoRA and the head are the two inputs of the vector, and both start at zero.

    Args:
        model: Trained model; changed in place.
        share: Kept share of the encoder's LoRA.
        head_share: Kept share of the head.
    """
    with torch.no_grad():
        for name, value in trained_parameters(model).items():
            if name.startswith("head."):
                value.mul_(head_share)
            elif name.startswith("encoder.") and "lora_B" in name:
                value.mul_(share)


@contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Compute no gradients for these parameters within the block."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def identity_of(recipe: Recipe, *without: str) -> str:
    """Hash the part of a recipe that a stage's state depends on, and the backbones in folders.

    Args:
        recipe: The recipe.
        *without: Keys that don't count: those of later stages, so that changing them does not
            invalidate the states of an earlier stage.
    """
    # The intervals of states and validation do not change a state.
    bookkeeping = {"save_every", "keep_states", "probe_every", "probe_pairs"}
    exclude: dict[str, bool | set[str]] = {**dict.fromkeys(without, True), "loop": bookkeeping}
    parts = [recipe.model_dump_json(exclude=exclude)]
    parts += [f"{key}={identity}" for key, identity in folder_identities(recipe.model).items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _summary(losses: list[float]) -> dict[str, float]:
    tail = losses[-TAIL_STEPS:]
    return {
        "steps": len(losses),
        "first_loss": round(losses[0], 4),
        "last_loss": round(sum(tail) / len(tail), 4),
    }
