"""The commands of ``lusifer train``, one module each."""

from __future__ import annotations

import typer

from lusifer_training.cli.lens import lens
from lusifer_training.cli.mine import mine_negatives
from lusifer_training.cli.stages import STAGE_COMMANDS, stage_command
from lusifer_training.cli.subspace import subspace

__all__ = ["train_app"]

train_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train LUSIFER on English, and measure the language subspace.",
)
for _name, (_stages, _help) in STAGE_COMMANDS.items():
    train_app.command(_name, help=_help)(stage_command(_stages))
train_app.command("mine")(mine_negatives)
train_app.command("subspace")(subspace)
train_app.command("lens")(lens)
