"""``lusifer reindex rollback``: points applications at the old vectors again."""

from __future__ import annotations

import sys

from lusifer.cli import options
from lusifer.cli.common import Command, write_json
from lusifer.cli.reindex.job_options import DEFAULT_JOB, JobArgument, open_migration

__all__ = ["COMMAND", "rollback"]


def rollback(job_path: JobArgument = DEFAULT_JOB, as_json: options.Json = False) -> None:
    """Point applications at the old vectors again, exactly as they were."""
    from lusifer.reindex import cutover
    from lusifer.reindex.job import Job

    job = Job(job_path)
    with job.locked(), open_migration(job.plan) as migration:
        left_behind = cutover.rollback(job, migration)
    if as_json:
        write_json({"switched": False, "left_behind": left_behind})
        return
    sys.stdout.write(f"Applications see {job.plan.source.name} again.\n")
    if left_behind:
        sys.stdout.write(
            f"{left_behind:,} documents were written since the switch. They are only in "
            f"{job.plan.target.name}, which stays until lusifer reindex clean.\n"
        )


COMMAND = Command(
    rollback,
    ("lusifer reindex rollback lusifer-reindex",),
)
