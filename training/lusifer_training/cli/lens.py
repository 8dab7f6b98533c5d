"""``lusifer train lens``: stage 3, on parallel sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer_training.cli.options import DEFAULT_DATA, DataOption, RunOption

__all__ = ["lens"]


def lens(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint with a language subspace.")],
    output: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    pairs: Annotated[
        Path,
        typer.Option(
            help="JSON lines of {language, text, english}; see lusifer_training.data.ddtp."
        ),
    ],
    run: RunOption,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 60,
    batch_pairs: Annotated[int, typer.Option(min=2, help="Sentence pairs per step.")] = 32,
    part: Annotated[str, typer.Option("--train", help="Trained part: head, llm or all.")] = "all",
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    push_weight: Annotated[
        float,
        typer.Option(
            min=0, help="Weight of Lens' push, which moves languages apart; for measurements."
        ),
    ] = 0.0,
    replay: Annotated[
        Path | None,
        typer.Option(help="Recipe whose stage 2 loss is added; its data must be there."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Train stage 3: align other languages with English outside the language subspace.

    It needs parallel sentences. This is the only stage that trains on more than English, and no
    checkpoint of the package is trained with it.

    Examples:
        lusifer train lens runs/small/fitted runs/small/lens --pairs ddtp.jsonl --run
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
