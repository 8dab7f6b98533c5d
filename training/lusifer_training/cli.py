"""``lusifer train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

train_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train LUSIFER on English, and measure the language subspace.",
)

DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="LUSIFER_DATA", help="Folder with train/ and eval/ and debian.jsonl."),
]
DEFAULT_DATA = Path("../shared/data")


ConfigOption = Annotated[Path, typer.Option(help="Recipe, a YAML file.")]
RunOption = Annotated[Path, typer.Option(help="Run folder; the same command resumes a run that was killed.")]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Count data, tokens, trained parameters, memory and time, and stop."),
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
        from lusifer_training.estimate import estimate, report_lines

        counts, estimates = estimate(recipe, data)
        chosen = [each for each in estimates if each.name in stages]
        typer.echo("\n".join(report_lines(counts, chosen)))
    else:
        from lusifer_training.train import train

        typer.echo(train(recipe, data_folder=data, run_folder=run, stages=stages))


@train_app.command("subspace")
def subspace(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint to project.")],
    output: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    texts: Annotated[
        Path, typer.Option(help="JSON lines of {language, text}; see lusifer_training.data.udhr.")
    ],
    rank: Annotated[int, typer.Option(help="Directions to project out.")] = 5,
) -> None:
    """Find the language subspace of a checkpoint and fold its projection in.

    Example:
        lusifer train subspace runs/small/checkpoint runs/small/projected --texts udhr.jsonl
    """
    from lusifer_training.checkpoint import with_language_basis
    from lusifer_training.evaluation.embedders import checkpoint_embedder
    from lusifer_training.subspace import language_basis, language_means, load_monolingual

    monolingual = load_monolingual(texts)
    means = language_means(checkpoint_embedder(checkpoint), monolingual)
    basis = language_basis(means, rank)
    typer.echo(with_language_basis(checkpoint, output, basis, languages=list(monolingual)))
