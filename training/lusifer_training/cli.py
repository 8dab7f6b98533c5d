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


@train_app.command("all")
def train_all(
    config: Annotated[Path, typer.Option(help="Recipe, a YAML file.")],
    run: Annotated[Path, typer.Option(help="Run folder; the same command resumes a run that was killed.")],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Both stages, from a recipe to RUN/checkpoint.

    Example:
        lusifer train all --config training/configs/small.yaml --run runs/small
    """
    from lusifer_training.recipe import load_recipe
    from lusifer_training.train import train

    typer.echo(train(load_recipe(config), data_folder=data, run_folder=run))


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
