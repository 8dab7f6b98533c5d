"""``lusifer reindex run``: embeds what is missing or stale."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_INTERRUPTED, Command, show, write_json
from lusifer.cli.reindex.job_options import (
    DEFAULT_JOB,
    AllowHostOption,
    AllowPathOption,
    JobArgument,
    open_job,
    open_migration,
    open_model,
)
from lusifer.cli.reindex.output import progress, show_state

__all__ = ["COMMAND", "run"]


def run(
    job_path: JobArgument = DEFAULT_JOB,
    maximum_passes: Annotated[int, typer.Option(metavar="N", min=1)] = 5,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1)] = 2,
    gpus: Annotated[float, typer.Option(metavar="X", min=0)] = 0,
    allow_host: AllowHostOption = None,
    allow_path: AllowPathOption = None,
    as_json: options.Json = False,
) -> None:
    """Embed what is missing or stale, pass after pass, until a pass finds nothing.

    Ctrl-C or SIGTERM pauses after the batch at hand, and the same command continues from there.
    Applications may write meanwhile.

    Options:
        maximum_passes: Most passes, for applications that never stop writing.
        ray: Embed on a Ray cluster: auto, ray://HOST:PORT, local.
        workers: Models in the Ray cluster.
        gpus: GPUs for each of these models.
    """
    from lusifer.reindex import runner

    job = open_job(job_path, allow_host, allow_path)
    with (
        job.locked(),
        open_migration(job.plan, exclusive=True) as migration,
        open_model(job.plan.model) as embedder,
        _pause_on_signal() as stopped,
        progress(job.plan) as on_progress,
    ):
        chosen = runner.PassOptions(
            maximum_passes=maximum_passes, on_progress=on_progress, stopped=stopped
        )
        if ray is None:
            state = runner.run(job, migration, embedder, chosen)
        else:
            from lusifer.reindex.ray_runner import Cluster, run_on_ray

            cluster = Cluster(ray, workers=workers, gpus=gpus)
            state = run_on_ray(job, migration, embedder, cluster, chosen)
    if as_json:
        write_json(runner.report_of(job, state))
    else:
        show_state(job, state)
    if stopped():
        show("Paused. The same command continues from here.\n", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)


@contextmanager
def _pause_on_signal() -> Iterator[Callable[[], bool]]:
    """Return a function that reports a stop request (Ctrl-C or SIGTERM).

    The batch at hand is finished.
    """
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


COMMAND = Command(
    run,
    (
        "lusifer reindex run lusifer-reindex",
        "lusifer reindex run lusifer-reindex --ray auto --workers 8",
    ),
)
