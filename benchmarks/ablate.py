"""The ablation table: every part of the recipe left out once, on the same data, for the same steps.

::

    python benchmarks/ablate.py                          # the default recipe: hours on two cores
    python benchmarks/ablate.py --steps 32 --batch 32    # still hours

Each row is trained by its own recipe and scored with and without its own language subspace, beside
the raw encoder and the raw LLM, which cost no training. One row more has another start: its
connector maps the encoder's states into the LLM's width by an orthogonal map, and stage 2 trains it
from there. Runs and vectors are kept: the same command goes on after a kill. Three seeds for the
full model and for the encoder trained alone, which it has to beat."""

from __future__ import annotations

import argparse
import hashlib
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import platformdirs
import torch
from tokenizers.processors import TemplateProcessing
from torch import nn
from torch.nn.functional import normalize

from lusifer_evaluation.table import evaluate
from lusifer_training.backbones.load import load_llm, load_llm_tokenizer, load_tokenizer
from lusifer_training.checkpoint import load_checkpoint, save_checkpoint, trained_parameters
from lusifer_training.config import default_checkpoint
from lusifer_training.data.batches import PairSampler
from lusifer_training.data.monolingual import monolingual_file
from lusifer_training.embedders import checkpoint_embedder, raw_encoder_embedder, raw_llm_embedder
from lusifer_training.geometry import GeometryEmbedder, without_languages
from lusifer_training.language_subspace import (
    language_basis,
    language_means,
    load_monolingual,
)
from lusifer_training.model.llm import Llm
from lusifer_training.model.lusifer import Lusifer, build_model, with_lora
from lusifer_training.model.pooling import mean_pool
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.recipe import AlignRecipe, FinetuneRecipe, Recipe, load_recipe
from lusifer_training.token_rows import run_rows, tokenize
from lusifer_training.trainer.cost_estimate import forward_flops_per_token
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.loop import TrainingLoop
from lusifer_training.trainer.pipeline import (
    KEPT,
    identity_of,
    interpolate,
    standard_batches,
    train,
)
from lusifer_training.vector_cache import CachedEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from lusifer_training.config import ModelConfig
    from lusifer_training.embed_function import EmbedFunction
    from lusifer_training.model.connector import Connector

ModelT = TypeVar("ModelT", bound=nn.Module)
StageT = TypeVar("StageT", AlignRecipe, FinetuneRecipe)

ROOT = Path(__file__).resolve().parents[1]
MACRO = ("tatoeba.accuracy", "xquad.r1.different", "stsb.different", "sib200.other")
ENGLISH = ("xquad.r1.en", "stsb.en", "tweets.en")
RANK = 8
MONOLINGUAL_TEXTS, MONOLINGUAL_CHARACTERS = 10, 150
"""Texts of each language for its mean, and their characters; a short text's tokens say which language it is as well as a long
one's."""
TIMES = 30.0
"""Factor by which the inputs of a turned connector are longer than the LLM's own: languages stay together
in it."""
LLM_TOKENS = 256
"""An English vocabulary spells other scripts in bytes: paragraphs get long, and are cut here."""


def short_texts() -> dict[str, dict[str, list[str]]]:
    """Return the beginnings of some monolingual texts, by source and language."""
    texts = load_monolingual(monolingual_file(platformdirs.user_cache_path("lusifer")))
    return {
        source: {
            language: [text[:MONOLINGUAL_CHARACTERS] for text in some[:MONOLINGUAL_TEXTS]]
            for language, some in languages.items()
        }
        for source, languages in texts.items()
    }


def at_budget(recipe: Recipe, steps: int | None, batch: int | None) -> Recipe:
    """Return a recipe with other numbers of steps and of texts and pairs a step; None keeps the recipe's."""

    def changed(stage: StageT, size: str) -> StageT:
        given = {key: value for key, value in (("steps", steps), (size, batch)) if value}
        return stage.model_copy(update=given)

    align = recipe.align and changed(recipe.align, "batch_texts")
    return recipe.model_copy(
        update={"align": align, "finetune": changed(recipe.finetune, "batch_pairs")}
    )


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """Return the full recipe, and recipes with one part less each."""

    def without(**changes: object) -> Recipe:
        parts = {key: value for key, value in changes.items() if key in Recipe.model_fields}
        model = {key: value for key, value in changes.items() if key not in Recipe.model_fields}
        values = {"model": recipe.model.model_copy(update=model), **parts}
        # Checked again, because a copy is not.
        return Recipe.model_validate(recipe.model_copy(update=values).model_dump(by_alias=True))

    return {
        "full": recipe,
        "encoder only": without(llm=None, align=None),
        "without stage 1": without(align=None),
        # There is no raw encoder to go back to without its path.
        "without residual": without(residual=False, interpolation=1.0, head_interpolation=None),
        "without encoder LoRA": without(encoder_lora=None),
    }


class LlmAlone(nn.Module):
    """The recipe's LLM layers reading their own tokens: LoRA and a head that starts as the identity.

    Untrained it gives the vectors of ``raw_llm_embedder``: causal, the mean of the last states.

    Args:
        config: Of the recipe's model; only its LLM is loaded.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.llm is not None
        self.config = config
        self.llm = Llm(load_llm(config.llm), layers=config.llm_layers, keep_token_table=True)
        self.llm.requires_grad_(False)
        self.llm.backbone = with_lora(self.llm.backbone, config.llm_lora)
        self.head = nn.Linear(self.llm.hidden_size, self.llm.hidden_size)
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        tokenizer = load_llm_tokenizer(config.llm)
        self.pad_token_id: int = tokenizer.bos_token_id
        self.tokenizer = tokenizer.backend_tokenizer
        bos = tokenizer.bos_token
        self.tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, self.pad_token_id)]
        )

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return unit vectors ``(B, H)``."""
        _, states = self.llm.read_tokens(input_ids, attention_mask)
        return normalize(self.head(mean_pool(states, attention_mask)), dim=-1)


def train_llm_alone(recipe: Recipe, data_folder: Path, run_folder: Path) -> LlmAlone:
    """Stage 2 of a recipe without its encoder; goes on with a run that was killed."""
    # Kept similarities are the encoder's share of the recipe; the raw LLM's are not worth keeping.
    stage = recipe.finetune.model_copy(
        update={"distillation_weight": 0.0, "false_negative_margin": None}
    )
    torch.manual_seed(recipe.seed)
    model = LlmAlone(recipe.model)
    recipe = recipe.model_copy(update={"finetune": stage})
    return finetuned(model, model.tokenizer, recipe, data_folder, run_folder)


def train_turned(recipe: Recipe, data_folder: Path, run_folder: Path) -> Path:
    """Run stage 2 of a recipe, from a connector that maps the encoder's states orthogonally."""
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model)
    turn(model.connector)
    finetuned(
        model, load_tokenizer(recipe.model.tokenizer), recipe, data_folder, run_folder / "finetune"
    )
    return save_checkpoint(model, run_folder / "checkpoint", {"steps": recipe.finetune.steps})


def finetuned(
    model: ModelT, tokenizer: Tokenizer, recipe: Recipe, data_folder: Path, run_folder: Path
) -> ModelT:
    """Return a model after a recipe's stage 2 alone; resume a run that was killed."""
    stage, sampler = recipe.finetune, PairSampler(recipe, data_folder)
    objective = FinetuneObjective(model.train(), tokenizer, stage, Distributed())
    parameters = trained_parameters(model)
    rates = {
        name: stage.learning_rate if "lora_" in name else stage.new_learning_rate
        for name in parameters
    }
    loop = TrainingLoop(
        run_folder,
        parameters,
        rates,
        steps=stage.steps,
        identity=identity_of(recipe, *KEPT),
        recipe=recipe.loop,
        distributed=Distributed(),
    )

    def losses_of(step: int) -> dict[str, torch.Tensor]:
        return objective(sampler.batch(step, stage.batch_pairs))

    if isinstance(model, Lusifer):
        with objective.standardised_head(standard_batches(sampler, stage)):
            loop.run(losses_of)
            interpolate(model, *recipe.shares)
    else:
        # The LLM alone starts as it came, and so does its head.
        loop.run(losses_of)
    return model.eval()


@torch.no_grad()
def turn(connector: Connector, times: float = TIMES) -> None:
    """Start a connector as an orthogonal map into the LLM's width, its inputs this many times longer.

    A ReLU passes a state in two halves, what is above zero and what is below; the second layer puts
    them together again. So the first needs twice the encoder's width."""
    size = connector.up.in_features
    halves = torch.eye(size)
    connector.up.weight[:] = torch.cat(
        [halves, -halves, torch.zeros(connector.up.out_features - 2 * size, size)]
    )
    there = nn.init.orthogonal_(torch.empty(connector.down.out_features, size))
    rest = torch.zeros(connector.down.out_features, connector.up.out_features - 2 * size)
    connector.down.weight[:] = torch.cat([there, -there, rest], dim=1)
    for layer in (connector.up, connector.down):
        nn.init.zeros_(layer.bias)
    connector.gain.mul_(times)


class LlmAloneEmbedder:
    """Unit vectors ``(N, H)`` of a trained ``LlmAlone``, with the recipe's role prompts."""

    def __init__(self, model: LlmAlone) -> None:
        self.model = model
        digest = hashlib.sha256()
        for name, value in sorted(trained_parameters(model).items()):
            digest.update(name.encode() + value.detach().numpy().tobytes())
        self.identity = f"llm alone:{digest.hexdigest()}"

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        prompt = self.model.config.role_prompts[role]
        rows = tokenize(self.model.tokenizer, [prompt + text for text in texts], LLM_TOKENS)
        return run_rows(self.model, rows, self.model.pad_token_id, budget_tokens=4096).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "training" / "configs" / "small.yaml")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="train/, eval/, debian.jsonl"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/ablation"), help="runs and vectors, kept"
    )
    parser.add_argument("--steps", type=int, help="of each stage; the recipe's by default")
    parser.add_argument("--batch", type=int, help="texts and pairs a step; the recipe's by default")
    parser.add_argument("--size", default="quick", help="of the evaluation sets")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of the full model and the encoder only"
    )
    options = parser.parse_args()

    recipe = at_budget(load_recipe(options.config), options.steps, options.batch)
    # Encoders are compared by all that they learn, of which the default recipe keeps a share.
    recipe = recipe.model_copy(update={"interpolation": 1.0})
    monolingual = short_texts()
    head = [
        "| model | MFLOP/token | macro | Tatoeba | XQuAD, different | STS-B, different | SIB-200, other "
    ]
    head[0] += "| XQuAD en | STS-B en | sentiment en |"
    head.append("|---|" + "---:|" * 9)
    print("\n".join(head), flush=True)

    def rows(name: str, model: nn.Module, embedders: list[EmbedFunction]) -> None:
        kept = options.runs / "vectors"
        projected = [
            GeometryEmbedder(
                each,
                without_languages(
                    language_basis(language_means(CachedEmbedder(kept, each), monolingual), RANK)
                ),
            )
            for each in embedders
        ]
        cost = forward_flops_per_token(model) / 1e6
        for title, group in ((name, embedders), (f"{name}, languages projected out", projected)):
            scores = [
                evaluate(each, data_folder=options.data, cache_folder=kept, size=options.size)
                for each in group
            ]
            columns = [[statistics.mean(each[key] for key in MACRO) for each in scores]]
            columns += [[each[key] for each in scores] for key in (*MACRO, *ENGLISH)]
            print(f"| {title} | {cost:.0f} | " + " | ".join(map(cell, columns)) + " |", flush=True)

    if recipe.model.encoder.location.startswith("package:"):
        bare = {"encoder_lora": None, "llm_lora": None}
        encoder = build_model(
            recipe.model.model_copy(update={**bare, "llm": None, "residual": True})
        )
        rows("raw encoder", encoder, [raw_encoder_embedder(default_checkpoint())])
        llm = LlmAlone(recipe.model.model_copy(update=bare))
        rows("raw LLM", llm, [raw_llm_embedder(default_checkpoint(), maximum_tokens=LLM_TOKENS)])
    alone = train_llm_alone(recipe, options.data, options.runs / "LLM only 0")
    rows("LLM only", alone, [LlmAloneEmbedder(alone)])
    for name, variant in variants(recipe).items():
        seeds = options.seeds if name in ("full", "encoder only") else 1
        folders = [
            train(
                variant.model_copy(update={"seed": seed}),
                data_folder=options.data,
                run_folder=options.runs / f"{name} {seed}",
            )
            for seed in range(seeds)
        ]
        rows(name, load_checkpoint(folders[0]), [checkpoint_embedder(folder) for folder in folders])
    bare = variants(recipe)["without stage 1"]
    folder = train_turned(bare, options.data, options.runs / "turned")
    rows(
        "turned connector, without stage 1", load_checkpoint(folder), [checkpoint_embedder(folder)]
    )


def cell(values: list[float]) -> str:
    spread = f" ±{statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
