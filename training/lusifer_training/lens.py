"""Stage 3, after Lens (arXiv 2410.04407): align other languages with English.

The alignment is outside the language subspace. This stage alone needs parallel sentences. It has
three losses, with a frozen copy of the checkpoint as teacher:

* **alignment**: in the agnostic part, z - M_s M_sᵀ z, a sentence is contrasted with the teacher's
  vectors of the English sentences of its batch, and moved to the vector of its own translation.
  Lens uses one direction for that part and a plain distance; one direction can't hold a meaning.
* **retention**: the vectors of English sentences are kept, and so are their similarities.
* **replay**: the loss of stage 2 on English pairs.

Lens' fourth term, the **push**, moves a language along its own direction, so that a generator
answers in the right language. It is off by default (``push_weight``) and is here to be measured: it
moves languages apart, which harms retrieval.
"""

from __future__ import annotations

import copy
import logging
import random
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, mse_loss, normalize

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint, save_checkpoint, trained_parameters
from lusifer_training.config import Frozen
from lusifer_training.data.batches import PairSampler
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import ConfigError, DataError
from lusifer_training.language_subspace import LanguageIdentifier
from lusifer_training.objectives.distillation import similarity_distillation
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.recipe import load_recipe
from lusifer_training.token_rows import run_rows, tokenize
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.loop import TrainingLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "LensObjective",
    "LensRecipe",
    "ParallelBatch",
    "lens_subspace",
    "load_parallel",
    "replay_of",
    "train_lens",
]

_log = logging.getLogger(__name__)

_PARTS = {
    "head": ("head.",),
    "llm": ("head.", "connector.", "llm."),
    "all": ("head.", "connector.", "llm.", "encoder."),
}

ParallelBatch: TypeAlias = list[tuple[str, str, str]]
"""Triples of language, text, and English translation."""

BUDGET_TOKENS = 2048
"""Tokens run at once, padding included."""
TAIL_STEPS = 10
"""Steps whose mean is reported as the last loss."""


class LensRecipe(Frozen):
    """Settings of stage 3."""

    steps: int = Field(60, gt=0)
    batch_pairs: int = Field(32, gt=1)
    """Sentence pairs per step, from all languages mixed."""
    maximum_tokens: int = Field(48, gt=4)
    learning_rate: float = Field(1e-4, gt=0)
    temperature: float = Field(0.05, gt=0)
    align_weight: float = Field(1.0, ge=0)
    retain_weight: float = Field(1.0, ge=0)
    push_weight: float = Field(0.0, ge=0)
    """Weight of Lens' specific separation, a step along a language's own direction."""
    train: Literal["head", "llm", "all"] = "all"
    """Trained parts: the head; head, connector and the LLM's LoRA; or also the encoder's LoRA."""
    seed: int = 0


def load_parallel(path: Path, *, maximum_per_language: int = 2000, seed: int = 0) -> ParallelBatch:
    """Read sentence pairs.

    Args:
        path: JSON lines with ``language``, ``text`` and ``english``.
        maximum_per_language: Pairs of a language at most, drawn at random.
        seed: Seed of the draw.

    Raises:
        DataError: The file is missing or empty, or a line is broken.
    """
    by_language: dict[str, ParallelBatch] = {}
    for record in read_json_lines(path, ("language", "text", "english")):
        pair = (record["language"], record["text"], record["english"])
        by_language.setdefault(record["language"], []).append(pair)
    rng = random.Random(seed)
    pairs = [
        pair
        for language in sorted(by_language)
        for pair in rng.sample(
            by_language[language], min(maximum_per_language, len(by_language[language]))
        )
    ]
    if not pairs:
        raise DataError(
            f"{path} has no sentence pairs.", next_step="Give lines of language, text and english."
        )
    return pairs


class LensObjective:
    """Compute the losses of one batch of parallel sentences.

    Args:
        model: The model in training.
        teacher: A frozen copy of the model before this stage.
        basis: M_s, orthonormal ``(D, r)``.
        directions: Offset of each language from English inside M_s ``(D,)``, for the push.
        recipe: Weights and temperature.
        embed: Returns a model's unit vectors ``(N, D)`` of texts, without its projection.
    """

    def __init__(
        self,
        model: Lusifer,
        teacher: Lusifer,
        basis: Tensor,
        directions: dict[str, Tensor],
        recipe: LensRecipe,
        embed: Callable[[Lusifer, Sequence[str]], Tensor],
    ) -> None:
        self.model, self.teacher, self.basis = model, teacher, basis
        self.directions, self.recipe, self.embed = directions, recipe, embed

    def __call__(self, batch: ParallelBatch) -> dict[str, Tensor]:
        """Return the scalars ``loss`` and its parts ``align``, ``retain`` and ``push``."""
        recipe = self.recipe
        count = len(batch)
        texts = [text for _, text, _ in batch] + [english for *_, english in batch]
        vectors = self.embed(self.model, texts)
        with torch.no_grad():
            before = self.embed(self.teacher, texts)
        foreign, english = vectors[:count], vectors[count:]
        align = _alignment(
            self._agnostic(foreign), self._agnostic(before[count:]), temperature=recipe.temperature
        )
        retain = (1 - (english * before[count:]).sum(dim=-1)).mean() + similarity_distillation(
            english, before[count:], temperature=recipe.temperature
        )
        loss = recipe.align_weight * align + recipe.retain_weight * retain
        losses = {"align": align.detach(), "retain": retain.detach()}
        if recipe.push_weight:
            goal = torch.stack([self.directions[language] for language, *_ in batch])
            push = mse_loss(self._specific(foreign) - self._specific(before[:count]), goal)
            # A mean over the D numbers of unit vectors is tiny compared with the other losses.
            push = push * vectors.shape[1]
            loss = loss + recipe.push_weight * push
            losses["push"] = push.detach()
        return {"loss": loss, **losses}

    def _specific(self, vectors: Tensor) -> Tensor:
        return (vectors @ self.basis) @ self.basis.T

    def _agnostic(self, vectors: Tensor) -> Tensor:
        return normalize(vectors - self._specific(vectors), dim=-1)


def _alignment(foreign: Tensor, english: Tensor, *, temperature: float) -> Tensor:
    """Return InfoNCE in both directions plus half the mean squared distance of the pairs.

    Args:
        foreign: Unit vectors ``(N, D)``.
        english: Unit vectors ``(N, D)`` of the translations.
        temperature: Temperature of the softmax.
    """
    scores = foreign @ english.T / temperature
    target = torch.arange(len(scores))
    contrast = (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2
    return contrast + 0.5 * (foreign - english).pow(2).sum(dim=-1).mean()


def lens_subspace(folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Return M_s of a checkpoint and the offset of each language from English inside it.

    Returns:
        ``(D, r)``, and ``(D,)`` by language.

    Raises:
        CheckpointError: The checkpoint has no language subspace.
    """
    identifier = LanguageIdentifier.load(folder)
    side = identifier.centroids["query"]
    english = side[identifier.languages.index("en")]
    directions = {
        language: torch.from_numpy(identifier.basis @ (each - english))
        for language, each in zip(identifier.languages, side, strict=True)
    }
    return torch.from_numpy(identifier.basis), directions


def replay_of(path: Path, data_folder: Path) -> Callable[[Lusifer, int], Tensor]:
    """Return the replay loss for :func:`train_lens`: the loss of stage 2 on English pairs.

    Args:
        path: Recipe with the pairs.
        data_folder: Holds the files that the recipe names.

    Raises:
        TrainingError: The recipe or its data can't be used.
    """
    recipe = load_recipe(path)
    sampler = PairSampler(recipe, data_folder)
    tokenizer = load_tokenizer(recipe.model.tokenizer)
    distributed = Distributed()

    def replay(model: Lusifer, step: int) -> Tensor:
        objective = FinetuneObjective(model, tokenizer, recipe.finetune, distributed)
        return objective(sampler.batch(step, recipe.finetune.batch_pairs))["loss"]

    return replay


def train_lens(
    checkpoint: Path,
    target: Path,
    pairs: ParallelBatch,
    recipe: LensRecipe,
    *,
    basis: Tensor,
    directions: dict[str, Tensor] | None = None,
    replay: Callable[[Lusifer, int], Tensor] | None = None,
    run_folder: Path,
) -> Path:
    """Train stage 3 from a checkpoint, or resume a run that was killed.

    Args:
        checkpoint: A checkpoint after stage 2. The projection of ``basis`` replaces its own.
        target: Checkpoint folder to write.
        pairs: Parallel sentences.
        recipe: Weights, steps, and trained parts.
        basis: M_s of the checkpoint ``(D, r)``.
        directions: Offset of each language from English ``(D,)``, for the push.
        replay: Returns the loss of stage 2 for a model and a step; it is added to the others.
        run_folder: Folder of states to resume from, and of metrics.

    Raises:
        ConfigError: The push is on and a language has no direction.
        DivergedError: The loss is not finite.
    """
    directions = directions or {}
    languages = {language for language, *_ in pairs}
    if recipe.push_weight and (unknown := languages - set(directions)):
        raise ConfigError(
            f"The push has no direction for {', '.join(sorted(unknown))}.",
            next_step="Find the language subspace with texts in these languages too.",
        )
    torch.manual_seed(recipe.seed)
    model = load_checkpoint(checkpoint)
    # The geometry is that of the served vector, not of the vectors in the losses.
    served = model.config
    model.config = served.model_copy(update={"language_rank": 0, "centre_share": 0.0})
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    everything = trained_parameters(model)
    parameters = {
        name: value for name, value in everything.items() if name.startswith(_PARTS[recipe.train])
    }
    for name, value in everything.items():
        value.requires_grad_(name in parameters)
    tokenizer = load_tokenizer(model.config.tokenizer)

    def embed(which: Lusifer, texts: Sequence[str]) -> Tensor:
        prompted = [which.config.query_prompt + text for text in texts]
        rows = tokenize(tokenizer, prompted, recipe.maximum_tokens)
        return run_rows(which, rows, which.pad_token_id, budget_tokens=BUDGET_TOKENS)

    objective = LensObjective(model, teacher, basis, directions, recipe, embed)

    def losses_of_step(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{recipe.seed}/lens/{step}")
        losses = objective(rng.sample(pairs, min(recipe.batch_pairs, len(pairs))))
        if replay:
            again = replay(model, step)
            losses = {**losses, "loss": losses["loss"] + again, "replay": again.detach()}
        return losses

    _log.info(
        "stage 3, Lens: %d trained parameters", sum(value.numel() for value in parameters.values())
    )
    loop = TrainingLoop(
        run_folder,
        parameters,
        dict.fromkeys(parameters, recipe.learning_rate),
        steps=recipe.steps,
        identity=recipe.model_dump_json(),
    )
    trained = loop.run(losses_of_step)
    for value in everything.values():
        value.requires_grad_(True)
    # The centre stays: retention keeps the English vectors that it is the mean of.
    model.config = served.model_copy(update={"language_rank": basis.shape[1]})
    model.language_basis = basis
    tail = trained[-TAIL_STEPS:]
    report = {
        "lens": {
            "recipe": recipe.model_dump(mode="json"),
            "pairs": len(pairs),
            "languages": sorted(languages),
            "first_loss": round(trained[0], 4),
            "last_loss": round(sum(tail) / len(tail), 4),
        }
    }
    return save_checkpoint(model, target, report)
