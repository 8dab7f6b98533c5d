"""The ablation table: every part of the recipe left out once, on the same data, for the same steps.

::

    python benchmarks/ablate.py --udhr udhr.jsonl    # the default recipe: hours on two cores
    python benchmarks/ablate.py --udhr udhr.jsonl --steps 20 --size smoke --seeds 1

Each row is trained by its own recipe and scored with and without its own language subspace, beside the raw
encoder and the raw LLM, which cost no training. Runs and vectors are kept: the same command goes on after a
kill. Three seeds for the full model and for the encoder trained alone, which it has to beat.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer_training.checkpoint import default_checkpoint, load_checkpoint
from lusifer_training.estimate import forward_flops_per_token
from lusifer_training.evaluation.embedders import (
    ProjectedEmbedder,
    checkpoint_embedder,
    raw_encoder_embedder,
    raw_llm_embedder,
)
from lusifer_training.evaluation.table import evaluate
from lusifer_training.recipe import Recipe, load_recipe
from lusifer_training.subspace import language_basis, language_means, load_monolingual
from lusifer_training.train import train

if TYPE_CHECKING:
    from lusifer_training.evaluation.embedders import Embedder

ROOT = Path(__file__).resolve().parents[1]
MACRO = ("tatoeba.accuracy", "xquad.r1.different", "stsb.different", "sib200.other")
ENGLISH = ("xquad.r1.en", "stsb.en", "tweets.en")
RANK = 8


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """The full recipe, and recipes with one part less each."""

    def without(**changes: object) -> Recipe:
        parts = {key: value for key, value in changes.items() if key in Recipe.model_fields}
        model = {key: value for key, value in changes.items() if key not in Recipe.model_fields}
        values = {"model": recipe.model.model_copy(update=model), **parts}
        # Checked anew: a copy is not.
        return Recipe.model_validate(recipe.model_copy(update=values).model_dump(by_alias=True))

    return {
        "full": recipe,
        "encoder only": without(llm=None, align=None),
        "without stage 1": without(align=None),
        # There is no raw encoder to go back to without its path.
        "without residual": without(residual=False, interpolation=1.0),
        "without encoder LoRA": without(encoder_lora=None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "training" / "configs" / "small.yaml")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="train/, eval/, debian.jsonl"
    )
    parser.add_argument("--udhr", type=Path, required=True, help="of python -m lusifer_training.data.udhr")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="runs and vectors, kept")
    parser.add_argument("--steps", type=int, help="of each stage; the recipe's by default")
    parser.add_argument("--size", default="quick", help="of the evaluation sets")
    parser.add_argument("--seeds", type=int, default=3, help="of the full model and the encoder only")
    options = parser.parse_args()

    recipe = load_recipe(options.config)
    if options.steps:
        stages = {
            name: stage.model_copy(update={"steps": options.steps})
            for name, stage in (("align", recipe.align), ("finetune", recipe.finetune))
            if stage
        }
        recipe = recipe.model_copy(update=stages)
    monolingual = load_monolingual(options.udhr)
    head = ["| model | MFLOP/token | macro | Tatoeba | XQuAD, different | STS-B, different | SIB-200, other "]
    head[0] += "| XQuAD en | STS-B en | sentiment en |"
    head.append("|---|" + "---:|" * 9)
    print("\n".join(head), flush=True)

    def rows(name: str, flops: float | None, embedders: list[Embedder]) -> None:
        projected = [
            ProjectedEmbedder(each, language_basis(language_means(each, monolingual), RANK))
            for each in embedders
        ]
        for title, group in ((name, embedders), (f"{name}, languages projected out", projected)):
            scores = [
                evaluate(
                    each, data_folder=options.data, cache_folder=options.runs / "vectors", size=options.size
                )
                for each in group
            ]
            columns = [[statistics.mean(each[key] for key in MACRO) for each in scores]]
            columns += [[each[key] for each in scores] for key in (*MACRO, *ENGLISH)]
            cost = f"{flops / 1e6:.0f}" if flops else "–"
            print(f"| {title} | {cost} | " + " | ".join(map(cell, columns)) + " |", flush=True)

    if recipe.model.encoder.location.startswith("package:"):
        rows("raw encoder", None, [raw_encoder_embedder(default_checkpoint())])
        rows("raw LLM", None, [raw_llm_embedder(default_checkpoint())])
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
        flops = forward_flops_per_token(load_checkpoint(folders[0]))
        rows(name, flops, [checkpoint_embedder(folder) for folder in folders])


def cell(values: list[float]) -> str:
    spread = f" ±{statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
