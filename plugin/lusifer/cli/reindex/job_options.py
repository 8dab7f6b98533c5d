"""Options and open resources that the commands of ``lusifer reindex`` share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import show
from lusifer.cli.embedders import open_embedder
from lusifer.common.terminal import printable
from lusifer.common.urls import without_key
from lusifer.errors import InvalidInputError, PlanError, ReindexError

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.checks import CheckOptions
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job
    from lusifer.reindex.plan import Model, Plan

__all__ = [
    "DEFAULT_JOB",
    "AllowHostOption",
    "AllowPathOption",
    "JobArgument",
    "OldBundleOption",
    "OldServiceOption",
    "PerLanguageOption",
    "QuestionsOption",
    "SamplesOption",
    "check_options",
    "open_job",
    "open_migration",
    "open_model",
    "open_old_model",
]

DEFAULT_JOB = Path("lusifer-reindex")

JobArgument = Annotated[
    Path, typer.Argument(metavar="JOB", help="Folder of the job, from lusifer reindex plan.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="HOST",
        help="Host, or HOST:PORT, to which a plan from elsewhere may send documents and keys; "
        "repeat it for each.",
    ),
]
AllowPathOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-path",
        metavar="DIR",
        help="Folder in which a plan from elsewhere may read and write; repeat it for each.",
    ),
]
OldBundleOption = Annotated[
    Path | None,
    typer.Option(
        "--old-bundle", metavar="DIR", help="Bundle of the old model, to compare recall with."
    ),
]
OldServiceOption = Annotated[
    str | None,
    typer.Option(
        "--old-service", metavar="URL", help="Running lusifer serve with the old model instead."
    ),
]
QuestionsOption = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help='Queries of your own, JSON lines {"text", "lang", "id" of the answer, "tenant" if '
        "any}; by default made from titles.",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", metavar="N", min=1, help="Documents to embed again and compare.")
]
PerLanguageOption = Annotated[
    int,
    typer.Option(
        "--per-language",
        metavar="N",
        min=1,
        help="Documents of each language that the gate compares.",
    ),
]


def open_job(
    path: Path, allow_hosts: list[str] | None = None, allow_paths: list[Path] | None = None
) -> Job:
    """Open a job; ask before a plan that was not made here is followed.

    Args:
        path: The job's folder.
        allow_hosts: Hosts that the plan may name without being asked about.
        allow_paths: Folders that it may name; the job's own is allowed.

    Raises:
        PlanError: The plan names other hosts or folders, and nobody can be asked.
        ReindexError: The job was cleaned.
        Abort: The answer was no.
    """
    from lusifer.reindex import trust
    from lusifer.reindex.job import Job

    job = Job(path)
    if job.state().phase == "cleaned":
        # Before source and target are opened: one of them is gone.
        raise ReindexError("This job was cleaned.", next_step="Make a new plan.")
    if trust.is_sealed(job.path, job.content):
        return job
    urls = [without_key(url) for url in trust.unknown_urls(job.plan, allow_hosts or [])]
    folders = trust.unknown_folders(job.plan, [job.path, *(allow_paths or [])])
    if urls or folders:
        named = [
            *(f"sends documents and keys to {printable(url)}" for url in urls),
            *(f"reads and writes {printable(folder)}" for folder in folders),
        ]
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise PlanError(
                f"The plan in {path} was not made by this user on this machine. It "
                f"{', '.join(named)}.",
                next_step="Check these, then allow them with --allow-host HOST and --allow-path "
                "DIR.",
            )
        show(f"The plan in {path} was not made by this user on this machine. It\n", err=True)
        show("".join(f"  {each}\n" for each in named), err=True)
        typer.confirm("Follow it?", abort=True, err=True)
    trust.seal(job.path, job.content)
    return job


@contextmanager
def open_migration(
    plan: Plan, *, exclusive: bool = False, hold_writes: bool = False
) -> Iterator[AnyMigration]:
    """Open source and target of a plan; close them afterwards."""
    from lusifer.reindex.endpoints import factory

    migration = factory.open_migration(plan, exclusive=exclusive, hold_writes=hold_writes)
    try:
        yield migration
    finally:
        migration.close()


@contextmanager
def open_model(model: Model) -> Iterator[Embedder]:
    """Open the model of a plan; close it afterwards."""
    from lusifer.reindex.endpoints import factory

    embedder = factory.open_model(model)
    try:
        yield embedder
    finally:
        embedder.close()


@contextmanager
def open_old_model(
    plan: Plan, bundle: Path | None, service: str | None
) -> Iterator[Embedder | None]:
    """Open the old model where it is named, and check that it made the old vectors.

    Raises:
        InvalidInputError: The plan does not record which model made the old vectors.
        FingerprintMismatchError: Another model made them.
    """
    if bundle is None and service is None:
        yield None
        return
    from lusifer.reindex.runner import check_model

    if plan.old_model is None:
        raise InvalidInputError(
            "Nothing records which model made the old vectors.",
            next_step="Leave out --old-bundle and --old-service.",
        )
    with open_embedder(bundle, service, dimension=plan.old_model.dimension) as embedder:
        check_model(plan.old_model, embedder)
        yield embedder


def check_options(
    migration: AnyMigration,
    old: Embedder | None,
    questions: Path | None,
    samples: int,
    per_language: int,
) -> CheckOptions:
    """Return how much is verified and measured; read the queries where a file is named.

    Raises:
        InvalidInputError: The queries can't be read.
    """
    from lusifer.reindex.checks import CheckOptions
    from lusifer.reindex.gate_queries import read_queries
    from lusifer.reindex.quality_gate import GateOptions

    queries = None if questions is None else read_queries(questions, migration.target)
    gate = GateOptions(old=old, queries=queries, per_language=per_language)
    return CheckOptions(samples=samples, gate=gate)
