"""``lusifer reindex clean``: deletes the vectors that applications do not see."""

from __future__ import annotations

from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.reindex.job_options import (
    DEFAULT_JOB,
    AllowHostOption,
    AllowPathOption,
    JobArgument,
    open_job,
    open_migration,
)
from lusifer.common.terminal import printable

__all__ = ["COMMAND", "clean"]


def clean(
    job_path: JobArgument = DEFAULT_JOB,
    yes: Annotated[bool, typer.Option("--yes")] = False,
    force: Annotated[bool, typer.Option("--force")] = False,
    allow_host: AllowHostOption = None,
    allow_path: AllowPathOption = None,
    as_json: options.Json = False,
) -> None:
    """Delete what applications do not see: the old vectors after a switch, else the new ones.

    Documents that were written to the side that is to be deleted, and are not on the other one, are
    counted first; then nothing is deleted without --force.

    Options:
        yes: Do not ask.
        force: Delete although documents are lost, others refer to the old collection, or something
            of it was left out.
    """
    from lusifer.reindex import cleaning

    job = open_job(job_path, allow_host, allow_path)
    with job.locked(), open_migration(job.plan) as migration:
        doomed = job.plan.source if migration.cutover.is_live() else job.plan.target
        if not yes:
            typer.confirm(f"Delete {printable(doomed.name)}? This can't be undone", abort=True)
        removed = cleaning.clean(job, migration, force=force)
    if as_json:
        write_json({"removed": removed})
    else:
        show(f"Deleted {removed}.\n")


COMMAND = Command(
    clean,
    ("lusifer reindex clean lusifer-reindex --yes",),
)
