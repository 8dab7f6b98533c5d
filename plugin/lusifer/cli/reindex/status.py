"""``lusifer reindex status``: shows the progress of a job."""

from __future__ import annotations

from lusifer.cli import options
from lusifer.cli.common import Command, write_json
from lusifer.cli.reindex.job_options import DEFAULT_JOB, JobArgument
from lusifer.cli.reindex.output import show_state

__all__ = ["COMMAND", "status"]


def status(job_path: JobArgument = DEFAULT_JOB, as_json: options.Json = False) -> None:
    """Show the progress of a job, also while it runs."""
    from lusifer.reindex.job import Job
    from lusifer.reindex.runner import report_of

    job = Job(job_path)
    state = job.state()
    if as_json:
        write_json({**report_of(job, state), "checks": job.read("checks.json")})
        return
    show_state(job, state)


COMMAND = Command(
    status,
    ("lusifer reindex status lusifer-reindex --json",),
)
