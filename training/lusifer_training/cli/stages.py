"""``lusifer train align``, ``finetune`` and ``all``: the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer_training.cli.options import DEFAULT_DATA, DataOption, RunOption

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STAGE_COMMANDS", "stage_command"]

DEFAULT_RUN = Path("runs/lusifer")

STAGE_COMMANDS = {
    "align": (
        ("align",),
        """Train stage 1 alone, which aligns the connector's output with the LLM's input.

        Example:
            lusifer train align --config training/configs/small.yaml --run runs/small
        """,
    ),
    "finetune": (
        ("finetune",),
        """Train stage 2 alone, from the stage 1 in the same run folder to RUN/checkpoint.

        Example:
            lusifer train finetune --config training/configs/small.yaml --run runs/small
        """,
    ),
    "all": (
        ("align", "finetune"),
        """Train both stages, from a recipe to RUN/checkpoint.

        Examples:
            lusifer train all --config training/configs/small.yaml --dry-run
            lusifer train all --config training/configs/small.yaml --run runs/small
        """,
    ),
}
"""Stages and help of each command, by its name."""


def stage_command(stages: tuple[str, ...]) -> Callable[..., None]:
    """Return the command that trains these stages."""

    def command(
        config: Annotated[Path, typer.Option(help="Recipe, a YAML file.")],
        run: RunOption = DEFAULT_RUN,
        data: DataOption = DEFAULT_DATA,
        dry_run: Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Count data, tokens, trained parameters, memory and time, and stop.",
            ),
        ] = False,
    ) -> None:
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

    return command
