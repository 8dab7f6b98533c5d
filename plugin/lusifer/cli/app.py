"""The ``lusifer`` command: registers all commands.

Commands import what they need when they run, so that ``lusifer --help`` answers at once and needs
no extra.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import delete, demo, embed, index, info, search, serve
from lusifer.cli.common import description_of, epilog_of, guarded, start_logging
from lusifer.cli.doctor import index as doctor_index
from lusifer.cli.doctor import qdrant as doctor_qdrant
from lusifer.cli.doctor import weaviate as doctor_weaviate
from lusifer.cli.keys import add as keys_add
from lusifer.cli.keys import list as keys_list
from lusifer.cli.keys import revoke as keys_revoke
from lusifer.cli.qdrant import alias as qdrant_alias
from lusifer.cli.qdrant import setup as qdrant_setup
from lusifer.cli.reindex import clean, plan, rollback, run, status, switch, verify
from lusifer.cli.weaviate import setup as weaviate_setup
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer.cli.common import Command

__all__ = ["app", "main"]

app = typer.Typer(
    name="lusifer",
    help="Cross-language search: texts of any language as unit vectors.",
    epilog="Start with: lusifer demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = {
    "embed": embed.COMMAND,
    "index": index.COMMAND,
    "search": search.COMMAND,
    "delete": delete.COMMAND,
    "serve": serve.COMMAND,
    "info": info.COMMAND,
    "demo": demo.COMMAND,
    "keys add": keys_add.COMMAND,
    "keys list": keys_list.COMMAND,
    "keys revoke": keys_revoke.COMMAND,
    "qdrant setup": qdrant_setup.COMMAND,
    "qdrant alias": qdrant_alias.COMMAND,
    "weaviate setup": weaviate_setup.COMMAND,
    "reindex plan": plan.COMMAND,
    "reindex run": run.COMMAND,
    "reindex status": status.COMMAND,
    "reindex verify": verify.COMMAND,
    "reindex switch": switch.COMMAND,
    "reindex rollback": rollback.COMMAND,
    "reindex clean": clean.COMMAND,
    "doctor index": doctor_index.COMMAND,
    "doctor qdrant": doctor_qdrant.COMMAND,
    "doctor weaviate": doctor_weaviate.COMMAND,
}

_GROUPS = {
    "keys": typer.Typer(help="Make, list and revoke API keys of the service."),
    "qdrant": typer.Typer(help="Create collections on a Qdrant server or in a folder."),
    "weaviate": typer.Typer(help="Create collections on a Weaviate server."),
    "reindex": typer.Typer(
        help="Move a live collection to another model: nothing lost, nothing stale, reversible."
    ),
    "doctor": typer.Typer(help="Find out why a database does not embed or find."),
}

_COMPONENTS = {
    "train": "Train a model (extra: train).",
    "eval": "Measure a model across languages (extra: eval).",
    "export": "Compile a model into a bundle (extra: export).",
    "adapt": "Fit a model to your own texts, without training (extra: export).",
}
"""Help of components before they are imported, so that ``lusifer --help`` needs no extra."""

_EXTRA_OF = {"adapt": "export"}
"""Extra of a component that has none of its own name."""


def _register(name: str, command: Command) -> None:
    group, _, own_name = name.rpartition(" ")
    (_GROUPS[group] if group else app).command(
        own_name,
        cls=command.kind,
        help=description_of(command.run.__doc__ or ""),
        epilog=epilog_of(*command.examples),
        context_settings=dict(command.context_settings),
    )(guarded(command.run))


for _name, _command in _COMMANDS.items():
    _register(_name, _command)
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name, no_args_is_help=True)


@app.callback()
def _common(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; twice for everything.")
    ] = 0,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda value: _show_version(value),
            help="Print the version.",
        ),
    ] = False,
) -> None:
    start_logging(verbose)


def _show_version(value: bool) -> None:
    if value:
        from lusifer._version import __version__

        typer.echo(f"lusifer {__version__}")
        raise typer.Exit


def _add_component(component: EntryPoint) -> None:
    """Register the command group of another component; it is imported only when it is called."""
    name = component.name
    summary = _COMPONENTS.get(name, f"Commands of {component.module}.")

    def run(
        arguments: Annotated[list[str] | None, typer.Argument(metavar="COMMAND [ARGS]...")] = None,
    ) -> None:
        group = typer.main.get_command(_load(component))
        # A group needs the name of a command; a single command can run without arguments.
        default = ["--help"] if hasattr(group, "commands") else []
        code = group.main(arguments or default, prog_name=f"lusifer {name}", standalone_mode=False)
        if isinstance(code, int) and code:
            raise typer.Exit(code)

    app.command(
        name,
        help=summary,
        short_help=summary,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(guarded(run))


def _load(component: EntryPoint) -> typer.Typer:
    try:
        group: typer.Typer = component.load()
    except ImportError as error:
        raise MissingExtraError(
            f"lusifer {component.name} can't start: {error}.",
            next_step="Run pip install "
            f"'lusifer[{_EXTRA_OF.get(component.name, component.name)}]'.",
        ) from error
    return group


# In the order of a model's life: trained, measured, exported, adapted.
for _component in sorted(
    entry_points(group="lusifer.commands"),
    key=lambda each: [*_COMPONENTS, each.name].index(each.name),
):
    _add_component(_component)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Texts are in any script, whatever the terminal's own encoding is.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    command: Callable[..., object] = typer.main.get_command(app).main
    try:
        command(list(arguments) if arguments is not None else None, prog_name="lusifer")
    except KeyboardInterrupt:
        # Ctrl-C between two guarded pieces of code, for example while modules load.
        raise SystemExit(130) from None
