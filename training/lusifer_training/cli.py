"""``lusifer train`` and ``lusifer eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

train_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train LUSIFER on English, and measure the language subspace.",
)
eval_app = typer.Typer(no_args_is_help=True, help="Cross-lingual evaluation.", add_completion=False)

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


@eval_app.callback()
def evaluation() -> None:
    """Cross-lingual evaluation."""


@eval_app.command("table")
def table(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Row to measure, repeatable: raw-encoder, raw-llm, encoder-only, lusifer. Default: all."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Another checkpoint folder to measure beside them, repeatable.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=2, help="Only the first N Tatoeba pairs and XQuAD paragraphs: quick, and easier."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
    cache: Annotated[Path | None, typer.Option(help="Folder of vectors already computed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as JSON.")] = False,
) -> None:
    """Tatoeba and XQuAD for the raw encoder, the raw LLM, the encoder trained alone, and LUSIFER.

    Example:
        lusifer eval table --limit 24
    """
    from lusifer_training.checkpoint import default_checkpoint
    from lusifer_training.evaluation.embedders import (
        checkpoint_embedder,
        raw_encoder_embedder,
        raw_llm_embedder,
    )
    from lusifer_training.evaluation.table import evaluate, markdown_table

    default = default_checkpoint()
    makers = {
        "raw-encoder": lambda: raw_encoder_embedder(default),
        "raw-llm": lambda: raw_llm_embedder(default),
        "encoder-only": lambda: checkpoint_embedder(default.with_name("encoder-only")),
        "lusifer": lambda: checkpoint_embedder(default),
    }
    if unknown := set(model or ()) - set(makers):
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))}: choose from {', '.join(makers)}", param_hint="--model"
        )
    chosen = {name: makers[name] for name in model or makers}
    for folder in checkpoint or ():
        chosen[str(folder)] = lambda at=folder: checkpoint_embedder(at)
    cache = cache or platformdirs.user_cache_path("lusifer") / "eval"
    scores = {
        name: evaluate(make(), data_folder=data, cache_folder=cache, limit=limit)
        for name, make in chosen.items()
    }
    if as_json:
        typer.echo(json.dumps({name: each.as_dict() for name, each in scores.items()}))
    else:
        typer.echo(markdown_table(scores))
