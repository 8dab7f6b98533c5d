"""``lusifer reindex``: a live collection from one model to another."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lusifer.choices import LongTextPolicy
from lusifer.cli.common import (
    DEFAULT_INDEX,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    BundleOption,
    IndexOption,
    JsonOption,
    console,
    guarded,
    write_json,
)
from lusifer.cli.targets import (
    CollectionOption,
    GrpcOption,
    QdrantOption,
    ServiceOption,
    WeaviateOption,
    open_embedder,
)

if TYPE_CHECKING:
    from lusifer.embedder import Embedder
    from lusifer.reindex.gate import Question
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.plan import Model, Plan
    from lusifer.reindex.sides import Migration
    from lusifer.reindex.switch import Checks

__all__ = ["reindex_app"]

reindex_app = typer.Typer(
    help="A live collection from one model to another: nothing lost, nothing stale, reversible.",
    no_args_is_help=True,
)

DEFAULT_JOB = Path("lusifer-reindex")
_LANGUAGES_SHOWN = 8

JobArgument = Annotated[
    Path, typer.Argument(metavar="JOB", help="Folder of the job, from lusifer reindex plan.")
]
OldBundleOption = Annotated[
    Path | None,
    typer.Option("--old-bundle", metavar="DIR", help="The old model, to compare recall with; a bundle."),
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
        help='Questions of your own, JSON lines {"text", "lang", "id" of the answer}; else made from titles.',
    ),
]
SamplesOption = Annotated[int, typer.Option("--samples", min=1, help="Documents to embed again and compare.")]
PerLanguageOption = Annotated[
    int, typer.Option("--per-language", min=1, help="Documents of each language that the gate looks at.")
]


def _examples(*lines: str) -> str:
    return "\n\n".join(("Examples:", *lines))


@reindex_app.command(
    "plan",
    epilog=_examples(
        "lusifer reindex plan --qdrant http://localhost:6333 --collection articles --bundle ./new-model",
        "lusifer reindex plan --qdrant http://localhost:6333 --collection articles --in-place",
        "lusifer reindex plan --weaviate http://localhost:8080 --collection Articles --service http://gpu:8000",
        "lusifer reindex plan --index ./db --collection articles --bundle ./new-model",
        "lusifer reindex plan --from export.parquet --qdrant http://localhost:6333 --collection articles",
    ),
)
@guarded
def plan(
    index_path: IndexOption = DEFAULT_INDEX,
    qdrant: QdrantOption = None,
    weaviate: WeaviateOption = None,
    collection: CollectionOption = None,
    grpc: GrpcOption = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Take the documents from a .jsonl, .csv or .parquet file instead."
        ),
    ] = None,
    job: Annotated[
        Path, typer.Option("--job", metavar="DIR", help="New folder for plan and state.")
    ] = DEFAULT_JOB,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", help="Name that applications are going to ask, where --collection is no alias."
        ),
    ] = None,
    new_collection: Annotated[
        str | None, typer.Option("--new-collection", metavar="NAME", help="Name of the new collection.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Fill a second named vector of the same documents instead.")
    ] = False,
    vector_name: Annotated[
        str | None, typer.Option("--vector-name", metavar="NAME", help="Of the new vector.")
    ] = None,
    service_address: Annotated[
        str | None,
        typer.Option(
            "--service-address",
            metavar="URL",
            help="Where Weaviate reaches lusifer serve with the new model.",
        ),
    ] = None,
    text_field: Annotated[str, typer.Option("--text-field", help="Field with the text.")] = "text",
    id_field: Annotated[str, typer.Option("--id-field", help="Field of a file with the id.")] = "id",
    language_field: Annotated[
        str, typer.Option("--language-field", help="Field with a document's language; else it is guessed.")
    ] = "lang",
    window: Annotated[int, typer.Option("--window", min=1, help="Documents between two checkpoints.")] = 256,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Documents to embed for the estimate.")
    ] = 128,
    source_per_s: Annotated[
        float, typer.Option("--source-per-s", min=0, help="Documents read in a second, at most; 0: no limit.")
    ] = 0,
    tokens_per_s: Annotated[
        float, typer.Option("--tokens-per-s", min=0, help="Tokens embedded in a second, at most.")
    ] = 0,
    target_per_s: Annotated[
        float, typer.Option("--target-per-s", min=0, help="Documents written in a second, at most.")
    ] = 0,
    price_per_hour: Annotated[
        float | None,
        typer.Option("--price-per-hour", min=0, help="Of the machine, for the estimate of the cost."),
    ] = None,
    maximum_recall_loss: Annotated[
        float, typer.Option("--maximum-recall-loss", min=0, max=1, help="Of the gate, in any language.")
    ] = 0.05,
    minimum_recall: Annotated[
        float, typer.Option("--minimum-recall", min=0, max=1, help="Of the gate, in any language.")
    ] = 0.5,
    minimum_overlap: Annotated[
        float, typer.Option("--minimum-overlap", min=0, max=1, help="Of neighbours, old and new.")
    ] = 0.1,
    dimension: Annotated[
        int | None,
        typer.Option("--dimension", min=1, help="Length of the new vectors (default: the model's)."),
    ] = None,
    long_text: Annotated[
        LongTextPolicy, typer.Option("--long-text", help="What happens to a text over the token limit.")
    ] = "truncate",
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a collection, embed a sample, and write a plan; nothing is changed.

    The plan says how many documents there are in which languages, how long it will take, what it costs, how
    large the new index becomes, and what of the server speaks against it.
    """
    from lusifer.errors import InvalidInputError
    from lusifer.reindex.job import Job
    from lusifer.reindex.plan import GateLimits, RateLimits
    from lusifer.reindex.planning import PlanRequest, make_plan

    if collection is None:
        raise InvalidInputError("No collection is named.", next_step="Add --collection NAME.")
    if qdrant and weaviate:
        raise InvalidInputError("Both --qdrant and --weaviate are given.", next_step="Name one of them.")
    request = PlanRequest(
        kind="qdrant" if qdrant else "weaviate" if weaviate else "embedded",
        address=qdrant or weaviate or str(index_path.resolve()),
        name=collection,
        bundle=None if bundle is None else str(bundle.resolve()),
        service=service,
        long_text=long_text,
        file=source,
        alias=alias,
        new_collection=new_collection,
        in_place=in_place,
        vector_name=vector_name,
        service_address=service_address,
        grpc=grpc,
        text_field=text_field,
        id_field=id_field,
        language_field=language_field,
        window=window,
        samples=samples,
        limits=RateLimits(source_per_s=source_per_s, tokens_per_s=tokens_per_s, target_per_s=target_per_s),
        gate=GateLimits(
            maximum_recall_loss=maximum_recall_loss,
            minimum_recall=minimum_recall,
            minimum_overlap=minimum_overlap,
        ),
        price_per_hour=price_per_hour,
    )
    Job.refuse_existing(job)
    with open_embedder(bundle, service, dimension=dimension, long_text=long_text) as embedder:
        made = make_plan(request, embedder)
    Job.create(job, made)
    if as_json:
        write_json(made.model_dump(mode="json"))
        return
    _show_plan(made, job)


@reindex_app.command(
    "run",
    epilog=_examples(
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
            "--maximum-passes", min=1, help="Stop after so many, where applications never stop writing."
        ),
    ] = 5,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Embed on a Ray cluster: auto, ray://HOST:PORT, local."
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Models in the Ray cluster.")] = 2,
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="GPUs for each of these models.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Embed what is missing or stale, pass after pass, until a pass finds nothing.

    Ctrl-C or SIGTERM pauses after the window at hand, and the same command goes on from there. Applications
    may go on writing.
    """
    from lusifer.reindex.job import Job
    from lusifer.reindex.run import report_of
    from lusifer.reindex.run import run as run_job

    job = Job(job_path)
    with (
        job.locked(),
        _opened(job.plan, exclusive=True) as migration,
        _embedder(job.plan.model) as embedder,
        _pausing() as stopped,
        _progress(job.plan) as on_progress,
    ):
        common: dict[str, Any] = {
            "maximum_passes": maximum_passes,
            "on_progress": on_progress,
            "stopped": stopped,
        }
        if ray is None:
            state = run_job(job, migration, embedder, **common)
        else:
            from lusifer.reindex.cluster import run_on_ray

            state = run_on_ray(job, migration, embedder, address=ray, workers=workers, gpus=gpus, **common)
    if as_json:
        write_json(report_of(job, state))
    else:
        _show_state(job, state)
    if stopped():
        sys.stderr.write("Paused. The same command goes on from here.\n")
        raise typer.Exit(EXIT_INTERRUPTED)


@reindex_app.command("status", epilog=_examples("lusifer reindex status lusifer-reindex --json"))
@guarded
def status(job_path: JobArgument = DEFAULT_JOB, as_json: JsonOption = False) -> None:
    """Tell how far a job is; may be asked while it runs."""
    from lusifer.reindex.job import Job
    from lusifer.reindex.run import report_of

    job = Job(job_path)
    state = job.state()
    if as_json:
        write_json({**report_of(job, state), "checks": job.read("checks.json")})
        return
    _show_state(job, state)


@reindex_app.command(
    "verify",
    epilog=_examples(
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
    as_json: JsonOption = False,
) -> None:
    """Count both sides, embed a sample again, and search both: would the switch be allowed?"""
    from lusifer.reindex.job import Job
    from lusifer.reindex.switch import check

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
        _show_checks(checks)
    if checks.problems:
        raise typer.Exit(EXIT_ERROR)


@reindex_app.command(
    "switch",
    epilog=_examples(
        "lusifer reindex switch lusifer-reindex --old-bundle ./old-model",
        "lusifer reindex switch lusifer-reindex --hold-writes",
    ),
)
@guarded
def switch(
    job_path: JobArgument = DEFAULT_JOB,
    force: Annotated[bool, typer.Option("--force", help="Switch although the checks fail.")] = False,
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
    as_json: JsonOption = False,
) -> None:
    """Let applications see the new vectors, at one stroke, if the checks allow it.

    Give them the new model for their questions at the same time: every search compares fingerprints and
    refuses to mix two models. Called again, it brings over what was still written to the old side.
    """
    from lusifer.reindex.job import Job
    from lusifer.reindex.switch import switch as switch_job

    job = Job(job_path)
    with (
        job.locked(),
        _opened(job.plan, hold_writes=hold_writes) as migration,
        _embedder(job.plan.model) as embedder,
        _old_embedder(job.plan, old_bundle, old_service) as old,
        _progress(job.plan) as on_progress,
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
        _show_checks(done.checks)
    sys.stdout.write(f"Applications see {job.plan.target.name} now.\n")
    if done.brought_over:
        sys.stdout.write(f"{done.brought_over:,} documents of the last moment were brought over.\n")
    sys.stdout.write(f"The way back: lusifer reindex rollback {job_path}\n")


@reindex_app.command("rollback", epilog=_examples("lusifer reindex rollback lusifer-reindex"))
@guarded
def rollback(job_path: JobArgument = DEFAULT_JOB, as_json: JsonOption = False) -> None:
    """Let applications see the old vectors again, exactly as they were."""
    from lusifer.reindex.job import Job
    from lusifer.reindex.switch import rollback as roll_back

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


@reindex_app.command("clean", epilog=_examples("lusifer reindex clean lusifer-reindex --yes"))
@guarded
def clean(
    job_path: JobArgument = DEFAULT_JOB,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the side that applications do not see: the old one after a switch, else the new one."""
    from lusifer.reindex.job import Job
    from lusifer.reindex.switch import clean as clean_job

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
def _opened(plan: Plan, *, exclusive: bool = False, hold_writes: bool = False) -> Iterator[Migration]:
    from lusifer.reindex.opening import open_migration

    migration = open_migration(plan, exclusive=exclusive, hold_writes=hold_writes)
    try:
        yield migration
    finally:
        migration.close()


@contextmanager
def _embedder(model: Model) -> Iterator[Embedder]:
    from lusifer.reindex.opening import open_model

    embedder = open_model(model)
    try:
        yield embedder
    finally:
        embedder.close()


@contextmanager
def _old_embedder(plan: Plan, bundle: Path | None, service: str | None) -> Iterator[Embedder | None]:
    if bundle is None and service is None:
        yield None
        return
    from lusifer.errors import InvalidInputError
    from lusifer.reindex.run import check_model

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
    from lusifer.reindex.gate import read_questions

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


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[State], None]]:
    """Bars for the whole and for the largest languages; drawn only on a terminal."""
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        yield lambda state: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=terminal,
    ) as progress:
        whole = progress.add_task("pass", total=max(1, plan.estimate.documents), counts="")
        largest = sorted(plan.estimate.languages.items(), key=lambda each: -each[1].documents)
        bars = {
            name: progress.add_task(name or "?", total=max(1, each.documents), counts="")
            for name, each in largest[:_LANGUAGES_SHOWN]
        }

        def on_progress(state: State) -> None:
            current = state.current
            counts = f"{current.read:,} read, {current.written:,} written, {current.tokens:,} tokens"
            label = f"pass {len(state.passes) + 1}"
            progress.update(whole, completed=current.read, counts=counts, description=label)
            for name, bar in bars.items():
                if name in state.languages:
                    tally = state.languages[name]
                    progress.update(
                        bar,
                        completed=tally.documents,
                        counts=f"{tally.documents:,} documents, {tally.tokens:,} tokens",
                    )

        yield on_progress


def _show_plan(plan: Plan, job: Path) -> None:
    write = sys.stdout.write
    estimate = plan.estimate
    write(f"{plan.source.name} → {plan.target.name}\n")
    if plan.alias:
        write(f"Applications ask for {plan.alias}.\n")
    old = plan.old_model.name if plan.old_model else "an unknown model"
    write(f"Model: {old} → {plan.model.name}, {plan.model.dimension} numbers.\n\n")
    write(f"{estimate.documents:,} documents, about {estimate.tokens:,} tokens, ")
    write(f"{_duration(estimate.seconds)} at {estimate.tokens_per_s:,.0f} tokens/s")
    write(f", {estimate.cost:,.2f} at the price given" if estimate.cost is not None else "")
    write(f".\nThe new index takes about {estimate.index_bytes / 1e6:,.1f} MB.\n\n")
    for name, each in sorted(estimate.languages.items(), key=lambda item: -item[1].documents):
        write(f"  {name or '?':<6} {each.documents:>12,} documents {each.tokens:>14,} tokens")
        write(f"  {_duration(each.seconds)}\n")
    for finding in plan.findings:
        write(
            f"\n{finding['severity']}: {finding['subject']}: {finding['message']} {finding['fix']}".rstrip()
        )
    write(f"\n\nNothing was changed. Next: lusifer reindex run {job}\n")


def _show_state(job: Job, state: State) -> None:
    from lusifer.reindex.run import report_of

    write = sys.stdout.write
    totals = state.totals
    report = report_of(job, state)
    write(f"{state.phase}: {len(state.passes)} passes complete")
    if state.current.read:
        write(f", {state.current.read:,} documents read in the one that is under way")
    write(f".\n{totals.written:,} written, {totals.gone:,} deleted, {totals.tokens:,} tokens, ")
    write(
        f"{totals.truncated:,} cut, {_duration(totals.seconds)} ({report['documents_per_s']} documents/s).\n"
    )
    rate = report["tokens_per_s"]
    for name, estimate in sorted(job.plan.estimate.languages.items(), key=lambda item: -item[1].documents):
        done = state.languages.get(name)
        left = max(0, estimate.tokens - (done.tokens if done else 0))
        eta = f"ETA {_duration(left / rate)}" if rate and state.phase == "running" else ""
        counted = f"{done.documents if done else 0:>12,} of about {estimate.documents:,}"
        write(f"  {name or '?':<6} {counted} {eta}".rstrip() + "\n")
    if totals.refused:
        write(f"{len(state.refused):,} documents have no text that can be embedded; the first:\n")
        for each in state.refused[:5]:
            write(f"  {each['key']}: {each['reason']}\n")
    advice = {
        "planned": "run",
        "running": "run",
        "settled": "verify, then switch",
        "switching": "switch, which completes it",
        "switched": "clean, or rollback",
        "rolled-back": "run, or clean",
    }.get(state.phase)
    if advice:
        write(f"Next: lusifer reindex {advice}\n")


def _show_checks(checks: Checks) -> None:
    write = sys.stdout.write
    found = checks.verification
    write(f"{found.old:,} documents on the old side, {found.new:,} on the new one; ")
    write(f"{found.sampled:,} sampled, worst cosine to a vector made now {found.worst_cosine:.6f}.\n\n")
    write("  lang   questions  recall@10 old → new   overlap  same language old → new\n")
    for name, each in checks.gate.languages.items():
        write(
            f"  {name or '?':<6} {each.questions:>9}  {_number(each.recall_old):>13} → "
            f"{_number(each.recall_new)}  {_number(each.overlap):>7}  {_number(each.bias_old):>17} → "
            f"{_number(each.bias_new)}\n"
        )
    for problem in checks.problems:
        write(f"\n{problem}")
    write("\nThe gate stays shut.\n" if checks.problems else "\nThe gate is open.\n")


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.1f} days"
