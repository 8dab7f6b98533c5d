"""Shows people the plan, progress, state and checks of a re-embedding."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.cli.common import console, show
from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lusifer.reindex.checks import Checks
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.plan import LanguageEstimate, Plan

__all__ = ["progress", "show_checks", "show_plan", "show_state"]

_LANGUAGES_SHOWN = 8
_NEXT_STEPS = {
    "planned": "run",
    "running": "run",
    "settled": "verify, then switch",
    "switching": "switch, which completes it",
    "switched": "clean, or rollback",
    "rolled-back": "run, or clean",
}


@contextmanager
def progress(plan: Plan) -> Iterator[Callable[[State], None]]:
    """Draw bars for the pass and for the largest languages; only on a terminal."""
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
        largest = _largest_first(plan.estimate.languages)
        bars = {
            name: progress.add_task(name or "?", total=max(1, each.documents), counts="")
            for name, each in largest[:_LANGUAGES_SHOWN]
        }

        def on_progress(state: State) -> None:
            current = state.current
            counts = (
                f"{current.read:,} read, {current.written:,} written, {current.tokens:,} tokens"
            )
            label = f"pass {len(state.passes) + 1}"
            progress.update(whole, completed=current.read, counts=counts, description=label)
            for name, bar in bars.items():
                if name in state.languages:
                    tally = state.languages[name]
                    counts = f"{tally.documents:,} documents, {tally.tokens:,} tokens"
                    progress.update(bar, completed=tally.documents, counts=counts)

        yield on_progress


def show_plan(plan: Plan, job: Path) -> None:
    """Write what is going to be done, what it takes, and what speaks against it."""
    write = show
    estimate = plan.estimate
    write(f"{plan.source.name} → {plan.target.name}\n")
    if plan.alias:
        write(f"Applications ask for {plan.alias}.\n")
    old = plan.old_model.name if plan.old_model else "an unknown model"
    write(f"Model: {old} → {plan.model.name}, {plan.model.dimension} numbers.\n\n")
    write(f"{estimate.documents:,} documents, about {estimate.tokens:,} tokens, ")
    write(f"{_duration(estimate.seconds)} at {estimate.tokens_per_s:,.0f} tokens/s")
    write(f", {estimate.cost:,.2f} at the given price" if estimate.cost is not None else "")
    write(f".\nThe new index takes about {estimate.index_bytes / 1e6:,.1f} MB.\n\n")
    for name, each in _largest_first(estimate.languages):
        write(f"  {name or '?':<6} {each.documents:>12,} documents {each.tokens:>14,} tokens")
        write(f"  {_duration(each.seconds)}\n")
    for finding in plan.findings:
        line = "{severity}: {subject}: {message} {fix}".format(**finding)
        write(f"\n{line}".rstrip())
    write(f"\n\nNothing was changed. Next: lusifer reindex run {job}\n")


def show_state(job: Job, state: State) -> None:
    """Write the progress of a job by language, and the next step."""
    from lusifer.reindex.runner import report_of

    write = show
    totals = state.totals
    report = report_of(job, state)
    write(f"{state.phase}: {len(state.passes)} passes complete")
    if state.current.read:
        write(f", {state.current.read:,} documents read in the current one")
    write(f".\n{totals.written:,} written, {totals.gone:,} deleted, {totals.tokens:,} tokens, ")
    write(f"{totals.truncated:,} cut, {_duration(totals.seconds)} ")
    write(f"({report['documents_per_s']} documents/s).\n")
    rate = totals.tokens / totals.engine_seconds if totals.engine_seconds else 0.0
    for name, estimate in _largest_first(job.plan.estimate.languages):
        done = state.languages.get(name)
        left = max(0, estimate.tokens - (done.tokens if done else 0))
        eta = f"ETA {_duration(left / rate)}" if rate and state.phase == "running" else ""
        counted = f"{done.documents if done else 0:>12,} of about {estimate.documents:,}"
        write(f"  {name or '?':<6} {counted} {eta}".rstrip() + "\n")
    if totals.refused:
        write(f"{len(state.refused):,} documents have no text that can be embedded; the first:\n")
        for each in state.refused[:5]:
            write(printable(f"  {each['key']}: {each['reason']}") + "\n")
    if state.passes and (conflicts := state.passes[-1].conflicts):
        write(f"{conflicts:,} documents were changed both in the source and in the target.\n")
    if next_step := _NEXT_STEPS.get(state.phase):
        write(f"Next: lusifer reindex {next_step}\n")


def show_checks(checks: Checks) -> None:
    """Write what was verified and measured, and whether the quality gate passed."""
    write = show
    found = checks.verification
    write(f"{found.old:,} documents in the source, {found.new:,} in the target; ")
    write(f"{found.sampled:,} sampled, ")
    write(f"worst cosine to a vector made now {found.worst_cosine:.6f}.\n")
    if found.kept:
        write(f"{found.kept:,} documents of the target are as applications wrote them, and stay.\n")
    write("\n")
    write("  lang     queries  recall@10 old → new   overlap  same language old → new  ")
    write("hub old → new\n")
    for name, each in checks.gate.languages.items():
        write(
            f"  {name or '?':<6} {each.questions:>9}  {_number(each.recall_old):>13} → "
            f"{_number(each.recall_new)}  {_number(each.overlap):>7}  "
            f"{_number(each.bias_old):>17} → {_number(each.bias_new)}  "
            f"{_number(each.hub_old):>7} → {_number(each.hub_new)}\n"
        )
    for problem in checks.problems:
        write(f"\n{problem}")
    write("\nThe checks failed.\n" if checks.problems else "\nThe checks passed.\n")


def _largest_first(
    languages: Mapping[str, LanguageEstimate],
) -> list[tuple[str, LanguageEstimate]]:
    return sorted(languages.items(), key=lambda item: -item[1].documents)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.1f} days"
