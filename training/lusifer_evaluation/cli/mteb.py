"""``lusifer eval mteb``: tasks of MTEB."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer_evaluation.cli.options import JsonOption, ModelArgument
from lusifer_evaluation.cli.output import echo, echo_json, format_table

__all__ = ["run_mteb"]


def run_mteb(
    model: ModelArgument = "lusifer",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task of mteb, repeatable. Default: the paper's datasets."),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder of mteb's results; a run resumes there.")
    ] = Path("mteb"),
    as_json: JsonOption = False,
) -> None:
    """Run tasks of MTEB, by default those of the paper in its 14 languages.

    It needs the extra mteb, and a model hub that mteb downloads the data from.

    Examples:
        lusifer eval mteb lusifer --task STSBenchmark --task SIB200Classification
    """
    import mteb

    from lusifer_evaluation import mteb_adapter

    tasks = [mteb.get_task(each) for each in task] if task else mteb_adapter.paper_benchmark().tasks
    found = mteb_adapter.run_mteb(model, list(tasks), output)
    if as_json:
        echo_json(found)
    else:
        echo(format_table("Task", {name: {"score": value} for name, value in found.items()}))
