"""``lusifer reindex switch``: points applications at the new vectors."""

from __future__ import annotations

from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.reindex import job_options
from lusifer.cli.reindex.output import progress, show_checks
from lusifer.common.terminal import printable

__all__ = ["COMMAND", "switch"]


def switch(
    job_path: job_options.JobArgument = job_options.DEFAULT_JOB,
    force: Annotated[bool, typer.Option("--force")] = False,
    questions: job_options.QuestionsOption = None,
    old_bundle: job_options.OldBundleOption = None,
    old_service: job_options.OldServiceOption = None,
    samples: job_options.SamplesOption = 200,
    per_language: job_options.PerLanguageOption = 25,
    hold_writes: Annotated[bool, typer.Option("--hold-writes")] = False,
    allow_host: job_options.AllowHostOption = None,
    allow_path: job_options.AllowPathOption = None,
    as_json: options.Json = False,
) -> None:
    """Point applications at the new vectors, atomically, if the checks pass.

    Change the model for their queries at the same time: every search compares fingerprints and
    refuses to mix two models. A second call copies what was still written to the old collection.
    What applications wrote to the new one, at whatever time, stays as it is. Where Qdrant embeds by
    a service, a query shows whether that is one of the new model, and what to change if not.

    Options:
        force: Switch although the checks fail, and replace the new side's documents by the old
            side's where applications changed both.
        hold_writes: Have Weaviate refuse writes to the old collection from the last pass to the
            switch: nothing can be missed, and applications must try again.
    """
    from lusifer.reindex.cutover import cut_over

    job = job_options.open_job(job_path, allow_host, allow_path)
    with (
        job.locked(),
        job_options.open_migration(job.plan, hold_writes=hold_writes) as migration,
        job_options.open_model(job.plan.model) as embedder,
        job_options.open_old_model(job.plan, old_bundle, old_service) as old,
        progress(job.plan) as on_progress,
    ):
        chosen = job_options.check_options(migration, old, questions, samples, per_language)
        done = cut_over(job, migration, embedder, chosen, force=force, on_progress=on_progress)
        advice = migration.advise()
    if as_json:
        checks = None if done.checks is None else done.checks.as_dict()
        write_json(
            {
                "switched": True,
                "brought_over": done.reconciled,
                "conflicts": done.conflicts,
                "checks": checks,
                "advice": list(advice),
            }
        )
        return
    if done.checks is not None:
        show_checks(done.checks)
    show(f"Applications see {job.plan.target.name} now.\n")
    for each in advice:
        show(f"{printable(each)}\n")
    if done.reconciled:
        show(f"{done.reconciled:,} documents of the last moment were copied.\n")
    if done.conflicts:
        show(
            f"{done.conflicts:,} documents were changed on both sides since they were copied. "
            "Applications see the new side's; the old side keeps its own until clean.\n"
        )
    show(f"To go back: lusifer reindex rollback {job_path}\n")


COMMAND = Command(
    switch,
    (
        "lusifer reindex switch lusifer-reindex --old-bundle ./old-model",
        "lusifer reindex switch lusifer-reindex --hold-writes",
    ),
)
