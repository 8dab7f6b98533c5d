from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import MemoryCutover, memory_migration
from plugin.tests.reindex.support import NEW, OLD, TextEmbedder, make_plan

from lusifer.errors import FingerprintMismatchError, InvalidDimensionError, ReindexError
from lusifer.reindex.job import Job, LanguageTally, PassTally, State
from lusifer.reindex.runner import PassOptions, check_model, report_of, run
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job.create(tmp_path / "job", make_plan(window=2))


def test_passes_run_until_one_finds_nothing(job: Job) -> None:
    source, target, migration = memory_migration()
    for number in range(5):
        source.put(Document(f"d{number}", f"text {number}", {"lang": "en"}))
    target.put(Document("theirs", "x", {"lang": "en"}))
    state = run(job, migration, NEW)
    assert state.phase == "settled"
    counts = [(each.read, each.stale, each.written, each.gone) for each in state.passes]
    assert counts == [(5, 5, 5, 0), (5, 0, 0, 0)]
    # What an application wrote to the target is not ours to delete.
    assert set(target.documents) == {"theirs", *(f"d{number}" for number in range(5))}
    assert job.state() == state
    report = job.read("report.json")
    assert report is not None
    assert report["phase"] == "settled"


def test_a_stopped_run_goes_on_where_it_was(job: Job) -> None:
    source, target, migration = memory_migration()
    for number in range(5):
        source.put(Document(f"d{number}", f"text {number}", {"lang": "en"}))
    state = run(job, migration, NEW, PassOptions(stopped=lambda: True))
    assert (state.phase, state.current.read, state.cursors) == ("running", 2, {0: "d2"})
    # The rest of a pass proves nothing: two more are needed.
    state = run(job, migration, NEW)
    assert [(each.read, each.written) for each in state.passes] == [(5, 5), (5, 0)]
    assert state.phase == "settled"
    assert target.count() == 5


def test_the_rest_of_a_pass_that_finds_nothing_does_not_settle_the_job(job: Job) -> None:
    source, target, migration = memory_migration()
    for number in range(5):
        document = Document(f"d{number}", f"text {number}", {"lang": "en"})
        source.put(document)
        target.put(document, NEW.vector(document.text))
    run(job, migration, NEW, PassOptions(stopped=lambda: True))
    state = run(job, migration, NEW)
    assert [each.found for each in state.passes] == [0, 0]
    assert state.phase == "settled"


def test_an_application_that_writes_in_every_pass_leaves_the_job_running(job: Job) -> None:
    source, _, migration = memory_migration()
    source.put(Document("a", "text", {"lang": "en"}))

    def edit(state: State) -> None:
        source.put(Document("a", f"text {len(state.passes)} {state.step}", {"lang": "en"}))

    state = run(job, migration, NEW, PassOptions(maximum_passes=3, on_progress=edit))
    assert (state.phase, [each.stale for each in state.passes]) == ("running", [1, 1, 1])


def test_what_an_earlier_target_held_is_forgotten(job: Job) -> None:
    source, target, migration = memory_migration()
    source.put(Document("a", "text", {"lang": "en"}))
    run(job, migration, NEW)
    target.remove("a")
    assert run(job, migration, NEW).totals.written == 1
    assert target.documents == {}
    # Somebody deleted the whole target to begin again.
    assert isinstance(migration.cutover, MemoryCutover)
    migration.cutover.prepared = False
    assert run(job, migration, NEW).totals.written == 2
    assert set(target.documents) == {"a"}


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ("switching", "see the new vectors"),
        ("switched", "see the new vectors"),
        ("cleaning", "was cleaned"),
        ("cleaned", "was cleaned"),
    ],
)
def test_a_run_in_a_wrong_phase_is_refused(job: Job, phase: str, message: str) -> None:
    job.save(State.model_validate({"plan_id": "test", "phase": phase}))
    _, _, migration = memory_migration()
    with pytest.raises(ReindexError, match=message):
        run(job, migration, NEW)
    assert isinstance(migration.cutover, MemoryCutover)
    assert migration.cutover.calls == []


def test_another_model_is_refused() -> None:
    plan = make_plan()
    check_model(plan.model, NEW)
    with pytest.raises(FingerprintMismatchError, match="The plan is for model-2 "):
        check_model(plan.model, OLD)
    with pytest.raises(InvalidDimensionError, match="vectors of 8 numbers, the model makes 4"):
        check_model(plan.model, TextEmbedder(2, dimension=4))


def test_the_report_has_totals_and_rates(job: Job) -> None:
    state = State(
        plan_id="test",
        phase="running",
        passes=[PassTally(read=10, written=8, tokens=90, seconds=3.0, engine_seconds=1.0)],
        current=PassTally(read=2, written=2, tokens=10, seconds=1.0, engine_seconds=1.0),
        languages={"en": LanguageTally(documents=4, tokens=40), "de": LanguageTally(documents=6)},
    )
    report = report_of(job, state)
    assert report | {"passes": None} == {
        "plan": "test",
        "phase": "running",
        "model": "model-2",
        "source": "v1 (lusifer) in here",
        "target": "v2 (lusifer) in here",
        "passes": None,
        "totals": {
            "read": 12, "stale": 0, "written": 10, "gone": 0, "refused": 0, "conflicts": 0,
            "tokens": 100, "truncated": 0, "seconds": 4.0, "engine_seconds": 2.0,
        },
        "languages": {"de": {"documents": 6, "tokens": 0}, "en": {"documents": 4, "tokens": 40}},
        "documents_per_s": 2.5,
        "tokens_per_s": 50.0,
        "seconds_outside_engine": 2.0,
        "refused": [],
    }  # fmt: skip
