"""``lusifer eval``."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import platformdirs
import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

eval_app = typer.Typer(no_args_is_help=True, help="Cross-lingual evaluation.", add_completion=False)

DataOption = Annotated[Path, typer.Option("--data", envvar="LUSIFER_DATA", help="Folder with eval/.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of vectors and results already computed; the user's cache by default."),
]
SizeOption = Annotated[
    str, typer.Option(help="How much of each set: smoke, quick, standard or full. Smaller pools are easier.")
]
DEFAULT_DATA = Path("../shared/data")
DEFAULT_MODELS = ["raw-encoder", "encoder-only", "lusifer-unprojected", "lusifer"]


@eval_app.callback()
def evaluation() -> None:
    """Cross-lingual evaluation."""


@eval_app.command("table")
def table(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="raw-encoder, raw-llm, encoder-only, lusifer-unprojected, lusifer; the folder of a "
            "checkpoint, a bundle or a sentence-transformers model; a service's address; MODULE:FUNCTION. "
            "NAME=MODEL names the column. Default: the model and its controls.",
        ),
    ] = None,
    size: SizeOption = "standard",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Only this task, repeatable: xquad, tatoeba, stsb, sib200, tweets."),
    ] = None,
    languages: Annotated[bool, typer.Option(help="Also rows for each language.")] = False,
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as JSON.")] = False,
) -> None:
    """Score models on the same sets, side by side, with intervals of 95 %.

    What was computed once is read from the cache, so that an interrupted run goes on where it was. A bold +
    or − says that a model differs from the first one by more than chance (paired bootstrap).

    Examples:
        lusifer eval table --size quick

        lusifer eval table raw-encoder mine=runs/small/checkpoint http://localhost:8000 --task xquad
    """
    from lusifer_training.evaluation.sources import named_source, open_source
    from lusifer_training.evaluation.table import evaluate, markdown_table

    folder = cache or platformdirs.user_cache_path("lusifer") / "eval"
    scores = {}
    for name, source in map(named_source, models or DEFAULT_MODELS):
        with _progress(name) as progress:
            scores[name] = evaluate(
                open_source(source),
                data_folder=data,
                cache_folder=folder,
                size=size,
                tasks=task,
                progress=progress,
            )
    if as_json:
        typer.echo(json.dumps({name: each.as_dict() for name, each in scores.items()}))
    else:
        typer.echo(markdown_table(scores, languages=languages))


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        found: dict[str, int] = {}

        def tell(task: str, done: int, total: int) -> None:
            if task not in found:
                found[task] = bars.add_task(f"{name}: {task}", total=total)
            bars.update(found[task], completed=done, total=total)

        yield tell
