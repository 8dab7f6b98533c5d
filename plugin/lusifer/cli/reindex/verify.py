"""``lusifer reindex verify``: checks the new vectors before the switch."""

from __future__ import annotations

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_ERROR, Command, write_json
from lusifer.cli.reindex import job_options
from lusifer.cli.reindex.output import show_checks

__all__ = ["COMMAND", "verify"]


def verify(
    job_path: job_options.JobArgument = job_options.DEFAULT_JOB,
    questions: job_options.QuestionsOption = None,
    old_bundle: job_options.OldBundleOption = None,
    old_service: job_options.OldServiceOption = None,
    samples: job_options.SamplesOption = 200,
    per_language: job_options.PerLanguageOption = 25,
    allow_host: job_options.AllowHostOption = None,
    allow_path: job_options.AllowPathOption = None,
    as_json: options.Json = False,
) -> None:
    """Count source and target, embed a sample again, and search both.

    Check whether the switch can be made. Applications may write meanwhile: what differs is copied
    and compared again.
    """
    from lusifer.reindex.checks import check

    job = job_options.open_job(job_path, allow_host, allow_path)
    with (
        job.locked(),
        job_options.open_migration(job.plan) as migration,
        job_options.open_model(job.plan.model) as embedder,
        job_options.open_old_model(job.plan, old_bundle, old_service) as old,
    ):
        chosen = job_options.check_options(migration, old, questions, samples, per_language)
        checks = check(job, migration, embedder, chosen)
    if as_json:
        write_json(checks.as_dict())
    else:
        show_checks(checks)
    if checks.problems:
        raise typer.Exit(EXIT_ERROR)


COMMAND = Command(
    verify,
    (
        "lusifer reindex verify lusifer-reindex",
        "lusifer reindex verify lusifer-reindex --old-bundle ./old-model",
    ),
)
