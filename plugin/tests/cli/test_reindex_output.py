"""Output for a plan, its progress and its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.support import make_plan

from lusifer.cli.reindex.output import progress, show_checks, show_plan, show_state
from lusifer.reindex.checks import Checks
from lusifer.reindex.job import Job, LanguageTally, PassTally, State
from lusifer.reindex.plan import Estimate, LanguageEstimate
from lusifer.reindex.quality_gate import GateResult, LanguageResult
from lusifer.reindex.verification import Verification

if TYPE_CHECKING:
    from pathlib import Path

ESTIMATE = Estimate(
    documents=12_000, sampled=128, tokens=1_300_000, tokens_per_s=1683.4, seconds=7200, cost=4.5,
    index_bytes=20_400_000,
    languages={
        "de": LanguageEstimate(documents=2_000, tokens=300_000, seconds=60),
        "en": LanguageEstimate(documents=10_000, tokens=1_000_000, seconds=600),
    },
)  # fmt: skip


def test_a_plan_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finding = {"severity": "warning", "subject": "Qdrant", "message": "Old.", "fix": "Upgrade."}
    show_plan(make_plan(estimate=ESTIMATE, findings=(finding,)), tmp_path / "job")
    assert capsys.readouterr().out == (
        "v1 (lusifer) in here → v2 (lusifer) in here\n"
        "Applications ask for live.\n"
        "Model: model-1 → model-2, 8 numbers.\n\n"
        "12,000 documents, about 1,300,000 tokens, 2.0 h at 1,683 tokens/s, 4.50 at the given price.\n"
        "The new index takes about 20.4 MB.\n\n"
        "  en           10,000 documents      1,000,000 tokens  10 min\n"
        "  de            2,000 documents        300,000 tokens  60 s\n"
        "\nwarning: Qdrant: Old. Upgrade.\n\n"
        f"Nothing was changed. Next: lusifer reindex run {tmp_path / 'job'}\n"
    )


def test_progress_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job.create(tmp_path / "job", make_plan(estimate=ESTIMATE))
    state = State(
        plan_id="test",
        phase="running",
        current=PassTally(
            read=500, written=400, tokens=50_000, refused=1, seconds=100, engine_seconds=50
        ),
        languages={"en": LanguageTally(documents=400, tokens=50_000)},
        refused=[{"key": "d1", "reason": "The text is empty (0 characters)."}],
    )
    show_state(job, state)
    assert capsys.readouterr().out == (
        "running: 0 passes complete, 500 documents read in the current one.\n"
        "400 written, 0 deleted, 50,000 tokens, 0 cut, 2 min (4.0 documents/s).\n"
        "  en              400 of about 10,000 ETA 16 min\n"
        "  de                0 of about 2,000 ETA 5 min\n"
        "1 documents have no text that can be embedded; the first:\n"
        "  d1: The text is empty (0 characters).\n"
        "Next: lusifer reindex run\n"
    )


@pytest.mark.parametrize(
    ("phase", "last"),
    [
        ("settled", "Next: lusifer reindex verify, then switch"),
        ("switching", "Next: lusifer reindex switch, which completes it"),
        ("switched", "Next: lusifer reindex clean, or rollback"),
        ("rolled-back", "Next: lusifer reindex run, or clean"),
        ("cleaned", "0 written, 0 deleted, 0 tokens, 0 cut, 0 s (0.0 documents/s)."),
    ],
)
def test_each_phase_has_a_next_step(
    phase: str, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    show_state(job, State.model_validate({"plan_id": "test", "phase": phase}))
    assert capsys.readouterr().out.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("failures", "end"),
    [
        ((), "\nThe checks passed.\n"),
        (
            ("en: recall@10 is 0.40, required is 0.50.",),
            "\nen: recall@10 is 0.40, required is 0.50.\nThe checks failed.\n",
        ),
    ],
)
def test_checks_for_people(
    failures: tuple[str, ...], end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verification = Verification(
        old=1000, new=1000, missing=0, missing_keys=(), removed=0, kept=2, conflicts=0,
        old_without_vector=0, new_without_vector=0, sampled=200, wrong=(), worst_cosine=0.9999995,
    )  # fmt: skip
    english: dict[str, Any] = {
        "questions": 25, "recall_old": 0.9, "recall_new": 0.4, "overlap": 0.5, "bias_old": None,
        "bias_new": 0.75, "hub_old": 0.0, "hub_new": 0.36,
    }  # fmt: skip
    gate = GateResult(languages={"en": LanguageResult(**english)}, failures=failures)
    show_checks(Checks(verification, gate))
    assert capsys.readouterr().out == (
        "1,000 documents in the source, 1,000 in the target; 200 sampled, worst cosine to a vector "
        "made now 1.000000.\n"
        "2 documents of the target are as applications wrote them, and stay.\n\n"
        "  lang     queries  recall@10 old → new   overlap  same language old → new  "
        "hub old → new\n"
        "  en            25           0.90 → 0.40     0.50                  – → 0.75     0.00 → 0.36"
        "\n" + end
    )


def test_without_a_terminal_no_bar_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(make_plan(estimate=ESTIMATE)) as on_progress:
        on_progress(State(plan_id="test"))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
