"""``lusifer reindex``: a live collection from one model to another."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lusifer.cli import options
from lusifer.cli.common import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    epilog_of,
    guarded,
    write_json,
)
from lusifer.cli.embedders import open_embedder
from lusifer.cli.reindex_output import progress, show_checks, show_state
from lusifer.cli.reindex_plan import DEFAULT_JOB, PLAN_EXAMPLES, plan

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration
    from lusifer.reindex.plan import Model, Plan
    from lusifer.reindex.quality_gate import Question

__all__ = ["reindex_app"]

reindex_app = typer.Typer(
    help="A live collection from one model to another: nothing lost, nothing stale, reversible.",
    no_args_is_help=True,
)

JobArgument = Annotated[
    Path, typer.Argument(metavar="JOB", help="Folder of the job, from lusifer reindex plan.")
]
OldBundleOption = Annotated[
    Path | None,
    typer.Option(
        "--old-bundle", metavar="DIR", help="The old model, to compare recall with; a bundle."
    ),
]
OldServiceOption = Annotated[
    str | None,
    typer.Option("--old-service", metavar="URL", help="The same as a running lusifer serve."),
]
QuestionsOption = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help='Questions of your own, JSON lines {"text", "lang", "id" of the answer, "tenant" if any}; '
        "else made from titles.",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", min=1, help="Documents to embed again and compare.")
]
PerLanguageOption = Annotated[
    int,
    typer.Option(
        "--per-language", min=1, help="Documents of each language that the gate looks at."
    ),
]


reindex_app.command("plan", epilog=epilog_of(*PLAN_EXAMPLES))(guarded(plan))


@reindex_app.command(
    "run",
    epilog=epilog_of(
        "lusifer reindex run lusifer-reindex",
        "lusifer reindex run lusifer-reindex --ray auto --workers 8",
    ),
)
@guarded
def run(
    job_path: JobArgument = DEFAULT_JOB,
    maximum_passes: Annotated[
        int,
        typer.Option(
            "--maximum-passes",
            min=1,
            help="Stop after so many, where applications never stop writing.",
        ),
    ] = 5,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Embed on a Ray cluster: auto, ray://HOST:PORT, local."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Models in the Ray cluster.")
    ] = 2,
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="GPUs for each of these models.")
    ] = 0,
    as_json: options.Json = False,
) -> None:
    """Embed what is missing or stale, pass after pass, until a pass finds nothing.

    Ctrl-C or SIGTERM pauses after the window at hand, and the same command goes on from there.
    Applications may go on writing.
    """
    from lusifer.reindex.job import Job
    from lusifer.reindex.runner import report_of
    from lusifer.reindex.runner import run as run_job

    job = Job(job_path)
    with (
        job.locked(),
        _opened(job.plan, exclusive=True) as migration,
        _embedder(job.plan.model) as embedder,
        _pausing() as stopped,
        progress(job.plan) as on_progress,
    ):
        common: dict[str, Any] = {
            "maximum_passes": maximum_passes,
            "on_progress": on_progress,
            "stopped": stopped,
        }
        if ray is None:
            state = run_job(job, migration, embedder, **common)
        else:
            from lusifer.reindex.ray_runner import run_on_ray

            state = run_on_ray(
                job, migration, embedder, address=ray, workers=workers, gpus=gpus, **common
            )
    if as_json:
        write_json(report_of(job, state))
    else:
        show_state(job, state)
    if stopped():
        sys.stderr.write("Paused. The same command goes on from here.\n")
        raise typer.Exit(EXIT_INTERRUPTED)


@reindex_app.command("status", epilog=epilog_of("lusifer reindex status lusifer-reindex --json"))
@guarded
def status(job_path: JobArgument = DEFAULT_JOB, as_json: options.Json = False) -> None:
    """Tell how far a job is; may be asked while it runs."""
    from lusifer.reindex.job import Job
    from lusifer.reindex.runner import report_of

    job = Job(job_path)
    state = job.state()
    if as_json:
        write_json({**report_of(job, state), "checks": job.read("checks.json")})
        return
    show_state(job, state)


@reindex_app.command(
    "verify",
    epilog=epilog_of(
        "lusifer reindex verify lusifer-reindex",
        "lusifer reindex verify lusifer-reindex --old-bundle ./old-model",
    ),
)
@guarded
def verify(
    job_path: JobArgument = DEFAULT_JOB,
    questions: QuestionsOption = None,
    old_bundle: OldBundleOption = None,
    old_service: OldServiceOption = None,
    samples: SamplesOption = 200,
    per_language: PerLanguageOption = 25,
    as_json: options.Json = False,
) -> None:
    """Count both sides, embed a sample again, and search both: would the switch be allowed?"""
    from lusifer.reindex.cutover import check
    from lusifer.reindex.job import Job

    job = Job(job_path)
    with (
        job.locked(),
        _opened(job.plan) as migration,
        _embedder(job.plan.model) as embedder,
        _old_embedder(job.plan, old_bundle, old_service) as old,
    ):
        checks = check(
            job,
            migration,
            embedder,
            old=old,
            questions=_questions(questions, migration),
            samples=samples,
            per_language=per_language,
        )
    if as_json:
        write_json(checks.as_dict())
    else:
        show_checks(checks)
    if checks.problems:
        raise typer.Exit(EXIT_ERROR)


@reindex_app.command(
    "switch",
    epilog=epilog_of(
        "lusifer reindex switch lusifer-reindex --old-bundle ./old-model",
        "lusifer reindex switch lusifer-reindex --hold-writes",
    ),
)
@guarded
def switch(
    job_path: JobArgument = DEFAULT_JOB,
    force: Annotated[
        bool, typer.Option("--force", help="Switch although the checks fail.")
    ] = False,
    hold_writes: Annotated[
        bool,
        typer.Option(
            "--hold-writes",
            help="Have Weaviate refuse writes to the old collection from the last pass to the switch: "
            "nothing can be missed, and applications must try again.",
        ),
    ] = False,
    questions: QuestionsOption = None,
    old_bundle: OldBundleOption = None,
    old_service: OldServiceOption = None,
    samples: SamplesOption = 200,
    per_language: PerLanguageOption = 25,
    as_json: options.Json = False,
) -> None:
    """Let applications see the new vectors, at one stroke, if the checks allow it.

    Give them the new model for their questions at the same time: every search compares fingerprints
    and refuses to mix two models. Called again, it brings over what was still written to the old
    side.
    """
    from lusifer.reindex.cutover import switch as switch_job
    from lusifer.reindex.job import Job

    job = Job(job_path)
    with (
        job.locked(),
        _opened(job.plan, hold_writes=hold_writes) as migration,
        _embedder(job.plan.model) as embedder,
        _old_embedder(job.plan, old_bundle, old_service) as old,
        progress(job.plan) as on_progress,
    ):
        done = switch_job(
            job,
            migration,
            embedder,
            force=force,
            old=old,
            questions=_questions(questions, migration),
            samples=samples,
            per_language=per_language,
            on_progress=on_progress,
        )
    if as_json:
        checks = None if done.checks is None else done.checks.as_dict()
        write_json({"switched": True, "brought_over": done.brought_over, "checks": checks})
        return
    if done.checks is not None:
        show_checks(done.checks)
    sys.stdout.write(f"Applications see {job.plan.target.name} now.\n")
    if done.brought_over:
        sys.stdout.write(f"{done.brought_over:,} documents of the last moment were brought over.\n")
    sys.stdout.write(f"The way back: lusifer reindex rollback {job_path}\n")


@reindex_app.command("rollback", epilog=epilog_of("lusifer reindex rollback lusifer-reindex"))
@guarded
def rollback(job_path: JobArgument = DEFAULT_JOB, as_json: options.Json = False) -> None:
    """Let applications see the old vectors again, exactly as they were."""
    from lusifer.reindex.cutover import rollback as roll_back
    from lusifer.reindex.job import Job

    job = Job(job_path)
    with job.locked(), _opened(job.plan) as migration:
        done = roll_back(job, migration)
    if as_json:
        write_json({"switched": False, "left_behind": done.left_behind})
        return
    sys.stdout.write(f"Applications see {job.plan.source.name} again.\n")
    if done.left_behind:
        sys.stdout.write(
            f"{done.left_behind:,} documents were written since the switch; they are only on the new side, "
            "which stays until lusifer reindex clean.\n"
        )


@reindex_app.command("clean", epilog=epilog_of("lusifer reindex clean lusifer-reindex --yes"))
@guarded
def clean(
    job_path: JobArgument = DEFAULT_JOB,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Delete the side that applications do not see: the old one after a switch, else the new one."""
    from lusifer.reindex.cutover import clean as clean_job
    from lusifer.reindex.job import Job

    job = Job(job_path)
    with job.locked(), _opened(job.plan) as migration:
        doomed = job.plan.source if migration.switch.shows_new() else job.plan.target
        if not yes:
            typer.confirm(f"Delete {doomed.name}? There is no way back", abort=True)
        removed = clean_job(job, migration)
    if as_json:
        write_json({"removed": removed})
    else:
        sys.stdout.write(f"Deleted {removed}.\n")


@contextmanager
def _opened(
    plan: Plan, *, exclusive: bool = False, hold_writes: bool = False
) -> Iterator[Migration]:
    from lusifer.reindex.endpoints.factory import open_migration

    migration = open_migration(plan, exclusive=exclusive, hold_writes=hold_writes)
    try:
        yield migration
    finally:
        migration.close()


@contextmanager
def _embedder(model: Model) -> Iterator[Embedder]:
    from lusifer.reindex.endpoints.factory import open_model

    embedder = open_model(model)
    try:
        yield embedder
    finally:
        embedder.close()


@contextmanager
def _old_embedder(
    plan: Plan, bundle: Path | None, service: str | None
) -> Iterator[Embedder | None]:
    if bundle is None and service is None:
        yield None
        return
    from lusifer.errors import InvalidInputError
    from lusifer.reindex.runner import check_model

    if plan.old_model is None:
        raise InvalidInputError(
            "Nothing tells which model made the old vectors.",
            next_step="Leave out --old-bundle and --old-service.",
        )
    with open_embedder(bundle, service, dimension=plan.old_model.dimension) as embedder:
        check_model(plan.old_model, embedder)
        yield embedder


def _questions(path: Path | None, migration: Migration) -> list[Question] | None:
    if path is None:
        return None
    from lusifer.reindex.quality_gate import read_questions

    return read_questions(path, migration.new)


@contextmanager
def _pausing() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C or SIGTERM came; the window at hand is finished first."""
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
