"""``lusifer reindex rollback``: points applications at the old vectors again."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.reindex import job_options
from lusifer.common.terminal import printable

__all__ = ["COMMAND", "rollback"]


def rollback(
    job_path: job_options.JobArgument = job_options.DEFAULT_JOB,
    old_bundle: job_options.OldBundleOption = None,
    old_service: job_options.OldServiceOption = None,
    force: Annotated[bool, typer.Option("--force")] = False,
    allow_host: job_options.AllowHostOption = None,
    allow_path: job_options.AllowPathOption = None,
    as_json: options.Json = False,
) -> None:
    """Point applications at the old vectors again.

    In place, documents that were written since the switch have no old vector. The old model makes
    it, with --old-bundle or --old-service.

    Options:
        force: In place, go back although documents lack the old vector and no search finds them.
    """
    from lusifer.reindex.rollback import fill_vectors
    from lusifer.reindex.rollback import rollback as go_back

    job = job_options.open_job(job_path, allow_host, allow_path)
    plan = job.plan
    with (
        job.locked(),
        job_options.open_migration(plan) as migration,
        job_options.open_old_model(plan, old_bundle, old_service) as old,
        job_options.open_migration(plan.reversed()) if old and plan.in_place else nullcontext() as (
            backwards
        ),
    ):
        fill = None
        if old is not None and backwards is not None:
            fill = partial(fill_vectors, backwards, old, plan.window)
        done = go_back(job, migration, force=force, fill=fill)
        advice = migration.advise()
    if as_json:
        write_json(
            {
                "switched": False,
                "left_behind": done.left_behind,
                "lacking": done.lacking,
                "advice": list(advice),
            }
        )
        return
    show(f"Applications see {plan.source.name} again.\n")
    for each in advice:
        show(f"{printable(each)}\n")
    if done.left_behind:
        show(
            f"{done.left_behind:,} documents were written to {plan.target.name}, or deleted from "
            "it, and only there. Another switch keeps them so; clean refuses to delete them.\n"
        )
    if done.lacking:
        show(f"{done.lacking:,} documents have no old vector, so no search finds them.\n")


COMMAND = Command(
    rollback,
    (
        "lusifer reindex rollback lusifer-reindex",
        "lusifer reindex rollback lusifer-reindex --old-bundle ./old-model",
    ),
)
