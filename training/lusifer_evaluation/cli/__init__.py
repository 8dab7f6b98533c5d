"""The commands of ``lusifer eval``, one module each."""

from __future__ import annotations

import typer

from lusifer_evaluation.cli.mteb import run_mteb
from lusifer_evaluation.cli.phases import phases
from lusifer_evaluation.cli.subspace import subspace
from lusifer_evaluation.cli.table import table
from lusifer_evaluation.cli.xmrc import xmrc

__all__ = ["eval_app"]

eval_app = typer.Typer(no_args_is_help=True, help="Cross-lingual evaluation.", add_completion=False)
eval_app.command("table")(table)
eval_app.command("xmrc")(xmrc)
eval_app.command("phases")(phases)
eval_app.command("subspace")(subspace)
eval_app.command("mteb")(run_mteb)


@eval_app.callback()
def evaluation() -> None:
    """Evaluate models across languages."""
