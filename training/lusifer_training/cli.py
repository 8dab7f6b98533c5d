"""``lusifer train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
import typer

train_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train LUSIFER on English, and measure the language subspace.",
)

DataOption = Annotated[
    Path,
    typer.Option(
        "--data", envvar="LUSIFER_DATA", help="Folder with train/ and eval/ and debian.jsonl."
    ),
]
DEFAULT_DATA = Path("../shared/data")
DEFAULT_RANK = 16
"""Measured on the default model: more directions win nothing in mixed pools and start to cost
pairs."""


ConfigOption = Annotated[Path, typer.Option(help="Recipe, a YAML file.")]
RunOption = Annotated[
    Path, typer.Option(help="Run folder; the same command resumes a run that was killed.")
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Count data, tokens, trained parameters, memory and time, and stop."
    ),
]
DEFAULT_RUN = Path("runs/lusifer")


@train_app.command("align")
def train_align(
    config: ConfigOption,
    run: RunOption = DEFAULT_RUN,
    data: DataOption = DEFAULT_DATA,
    dry_run: DryRunOption = False,
) -> None:
    """Stage 1 alone: the connector learns to speak the LLM's language.

    Example:
        lusifer train align --config training/configs/small.yaml --run runs/small
    """
    _train(config, run, data, stages=("align",), dry_run=dry_run)


@train_app.command("finetune")
def train_finetune(
    config: ConfigOption,
    run: RunOption = DEFAULT_RUN,
    data: DataOption = DEFAULT_DATA,
    dry_run: DryRunOption = False,
) -> None:
    """Stage 2 alone, from the stage 1 in the same run folder to RUN/checkpoint.

    Example:
        lusifer train finetune --config training/configs/small.yaml --run runs/small
    """
    _train(config, run, data, stages=("finetune",), dry_run=dry_run)


@train_app.command("all")
def train_all(
    config: ConfigOption,
    run: RunOption = DEFAULT_RUN,
    data: DataOption = DEFAULT_DATA,
    dry_run: DryRunOption = False,
) -> None:
    """Both stages, from a recipe to RUN/checkpoint.

    Examples:
        lusifer train all --config training/configs/small.yaml --dry-run
        lusifer train all --config training/configs/small.yaml --run runs/small
    """
    _train(config, run, data, stages=("align", "finetune"), dry_run=dry_run)


def _train(config: Path, run: Path, data: Path, *, stages: tuple[str, ...], dry_run: bool) -> None:
    from lusifer_training.recipe import load_recipe

    recipe = load_recipe(config)
    if dry_run:
        from lusifer_training.trainer.cost_estimate import estimate, report_lines

        counts, estimates = estimate(recipe, data)
        chosen = [each for each in estimates if each.name in stages]
        typer.echo("\n".join(report_lines(counts, chosen)))
    else:
        from lusifer_training.trainer.pipeline import train

        typer.echo(train(recipe, data_folder=data, run_folder=run, stages=stages))


@train_app.command("mine")
def train_mine(
    source: Annotated[Path, typer.Argument(help="JSON lines with query and document.")],
    output: Annotated[Path, typer.Argument(help="JSON lines to write: the same with negatives.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint that finds them; without it the default one.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=1, help="Of each query, at most.")] = 7,
    first_rank: Annotated[int, typer.Option(min=0, help="Nearer documents may answer too.")] = 30,
    last_rank: Annotated[int, typer.Option(min=1, help="Farther ones are too easy.")] = 128,
    margin: Annotated[
        float, typer.Option(min=0, help="Cosine below that of the own document.")
    ] = 0.05,
    clusters: Annotated[
        int | None,
        typer.Option(min=2, help="Number pairs by cluster too: a batch is drawn from one."),
    ] = None,
) -> None:
    """Find hard negatives, and clusters for batches, among the documents of a file of pairs.

    Example:
        lusifer train mine pairs.jsonl mined.jsonl --clusters 64
    """
    from lusifer_training.config import default_checkpoint
    from lusifer_training.data.mining import mine
    from lusifer_training.embedders import checkpoint_embedder

    report = mine(
        source,
        output,
        checkpoint_embedder(checkpoint or default_checkpoint()),
        negatives=negatives,
        ranks=(first_rank, last_rank),
        margin=margin,
        clusters=clusters,
    )
    typer.echo(f"{output}: " + ", ".join(f"{value:,} {name}" for name, value in report.items()))


@train_app.command("subspace")
def subspace(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint to project.")],
    output: Annotated[
        Path, typer.Argument(help="Checkpoint folder to write; may be the same one.")
    ],
    texts: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines of {language, text} and, optionally, source. Default: two packages in 29 "
            "languages, downloaded once with npm and apt."
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="Directions to project out; 16 by default, or all where there are fewer.", min=1
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of downloads and vectors already computed.")
    ] = None,
) -> None:
    """Find the language subspace of a checkpoint and project it out of its vectors.

    Nothing is trained: the texts only give means. Their side vectors, which name the language, are
    kept beside the checkpoint.

    Examples:
        lusifer train subspace runs/small/checkpoint runs/small/projected

        lusifer train subspace runs/small/checkpoint runs/small/projected --texts news.jsonl --rank
        5
    """
    from lusifer_training.checkpoint import with_language_basis
    from lusifer_training.data.monolingual import monolingual_file
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.language_subspace import (
        LanguageIdentifier,
        language_basis,
        language_means,
        load_monolingual,
    )
    from lusifer_training.vector_cache import CachedEmbedder

    folder = cache or platformdirs.user_cache_path("lusifer")
    monolingual = load_monolingual(texts or monolingual_file(folder))
    embedder = CachedEmbedder(folder / "eval", checkpoint_embedder(checkpoint, projected=False))
    means = language_means(embedder, monolingual)
    rank = rank or min(DEFAULT_RANK, language_basis(means).shape[1])
    identifier = LanguageIdentifier.fit(means, language_basis(means, rank))
    counts = {
        source: {language: len(each) for language, each in languages.items()}
        for source, languages in monolingual.items()
    }
    typer.echo(with_language_basis(checkpoint, output, identifier, {"texts": counts}))


@train_app.command("lens")
def lens(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint with a language subspace.")],
    output: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    pairs: Annotated[
        Path,
        typer.Option(
            help="JSON lines of {language, text, english}; see lusifer_training.data.ddtp."
        ),
    ],
    run: Annotated[
        Path, typer.Option(help="Run folder; the same command resumes a run that was killed.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 60,
    batch_pairs: Annotated[int, typer.Option(min=2, help="Sentence pairs a step.")] = 32,
    part: Annotated[
        str, typer.Option("--train", help="What is trained: head, llm or all.")
    ] = "all",
    learning_rate: Annotated[float, typer.Option(help="Peak.")] = 1e-4,
    push_weight: Annotated[
        float,
        typer.Option(
            min=0, help="Weight of Lens' push, which moves languages apart: an arm to measure."
        ),
    ] = 0.0,
    replay: Annotated[
        Path | None,
        typer.Option(help="Recipe whose stage 2 is trained on beside; its data must be there."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Stage 3: pull other languages to English outside the language subspace, from parallel sentences.

    This is the one stage that is trained on more than English, and no checkpoint that ships has
    seen it.

    Examples:
        lusifer train lens runs/small/projected runs/small/lens --pairs ddtp.jsonl --run
        runs/small/lens-run
    """
    from lusifer_training.config import validated
    from lusifer_training.lens import (
        LensRecipe,
        lens_subspace,
        load_parallel,
        replay_of,
        train_lens,
    )

    values = {
        "steps": steps,
        "batch_pairs": batch_pairs,
        "train": part,
        "learning_rate": learning_rate,
        "push_weight": push_weight,
    }
    basis, directions = lens_subspace(checkpoint)
    written = train_lens(
        checkpoint,
        output,
        load_parallel(pairs),
        validated(LensRecipe, values, where="the options"),
        basis=basis,
        directions=directions,
        replay=replay_of(replay, data) if replay else None,
        run_folder=run,
    )
    typer.echo(written)
