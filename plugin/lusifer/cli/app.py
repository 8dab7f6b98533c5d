"""The ``lusifer`` command.

Commands import what they need when they run, so that ``lusifer --help`` answers at once and needs
no extra.
"""

from __future__ import annotations

import inspect
import io
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import epilog_of, guarded, start_logging
from lusifer.cli.demo import EXAMPLES as DEMO_EXAMPLES
from lusifer.cli.demo import demo
from lusifer.cli.doctor import doctor_app
from lusifer.cli.embed import EXAMPLES as EMBED_EXAMPLES
from lusifer.cli.embed import embed
from lusifer.cli.index import EXAMPLES as INDEX_EXAMPLES
from lusifer.cli.index import index
from lusifer.cli.info import EXAMPLES as INFO_EXAMPLES
from lusifer.cli.info import info
from lusifer.cli.qdrant import qdrant_app
from lusifer.cli.reindex import reindex_app
from lusifer.cli.search import EXAMPLES as SEARCH_EXAMPLES
from lusifer.cli.search import search
from lusifer.cli.serve import EXAMPLES as SERVE_EXAMPLES
from lusifer.cli.serve import ServeCommand, keys_app, serve
from lusifer.cli.weaviate import weaviate_app
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def _flowing(docstring: str) -> str:
    """Paragraphs without their line breaks, which the help would keep at our width, not at the terminal's."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for command, examples in (
    (embed, EMBED_EXAMPLES),
    (index, INDEX_EXAMPLES),
    (search, SEARCH_EXAMPLES),
    (serve, SERVE_EXAMPLES),
    (info, INFO_EXAMPLES),
    (demo, DEMO_EXAMPLES),
):
    app.command(
        cls=ServeCommand if command is serve else None,
        help=_flowing(command.__doc__ or ""),
        # Empty lines, because the help joins lines that follow each other.
        epilog=epilog_of(*examples),
        # The service's settings are flags, but loaded only when it runs.
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
        if command is serve
        else None,
    )(guarded(command))


app.add_typer(keys_app, name="keys")
app.add_typer(qdrant_app, name="qdrant")
app.add_typer(weaviate_app, name="weaviate")
app.add_typer(reindex_app, name="reindex")
app.add_typer(doctor_app, name="doctor")


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


_SUMMARIES = {
    "train": "Train a model (extra: train).",
    "eval": "Measure a model across languages (extra: eval).",
    "export": "Compile a model into a bundle (extra: export).",
}
"""Shown before a component is imported, so that ``lusifer --help`` needs no extra."""


def _add_component(component: EntryPoint) -> None:
    """Register the command group of another component; it is imported only when it is called."""
    name = component.name
    summary = _SUMMARIES.get(name, f"Commands of {component.module}.")

    def run(
        arguments: Annotated[list[str] | None, typer.Argument(metavar="COMMAND [ARGS]...")] = None,
    ) -> None:
        group = typer.main.get_command(_load(component))
        # A group needs one of its commands; a single command may do without arguments.
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
            next_step=f"Run pip install 'lusifer[{component.name}]'",
        ) from error
    return group


# In the order of a model's life: trained, measured, exported.
for _component in sorted(
    entry_points(group="lusifer.commands"),
    key=lambda each: [*_SUMMARIES, each.name].index(each.name),
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
        # Between two guarded pieces of code, for example while modules load.
        raise SystemExit(130) from None
