from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.scene import Scene
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.errors import QualityGateError, ReindexError
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.job import Job
from lusifer.reindex.rollback import rollback
from lusifer.reindex.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_cutover_checks_activates_and_notes_its_phase(scene: Scene) -> None:
    result = cut_over(scene.job, scene.migration, NEW)
    assert result.reconciled == 0
    assert result.checks is not None
    assert result.checks.problems == []
    assert result.checks.gate.languages["en"].recall_new == 1.0
    assert scene.cutover.calls == ["prepare", "activate"]
    assert scene.job.state().phase == "switched"
    checks = scene.job.read("checks.json")
    assert checks is not None
    assert (checks["passed"], checks["problems"]) == (True, [])


def test_a_failed_check_changes_nothing_unless_forced(scene: Scene) -> None:
    scene.target.stored_vectors["d00"] = NEW.vector("another text")
    with pytest.raises(QualityGateError) as refused:
        cut_over(scene.job, scene.migration, NEW)
    assert refused.value.message.startswith(
        "The quality gate failed: 1 of 12 sampled vectors are not those of their texts (worst cosine "
    )
    assert refused.value.status == 409
    assert (scene.cutover.live, scene.job.state().phase) == (False, "settled")
    result = cut_over(scene.job, scene.migration, NEW, force=True)
    assert result.checks is not None
    assert len(result.checks.problems) == 1
    assert scene.cutover.live


def test_late_writes_go_along_and_are_frozen_out_if_possible(scene: Scene) -> None:
    events: list[str] = []

    @contextmanager
    def freeze() -> Iterator[None]:
        scene.edit("d00", "just before the freeze")
        events.append(f"frozen, live: {scene.cutover.live}")
        yield
        events.append(f"released, live: {scene.cutover.live}")
        scene.edit("d01", "just after the freeze")

    migration = replace(scene.migration, write_freeze=freeze)
    assert cut_over(scene.job, migration, NEW).reconciled == 1
    assert events == ["frozen, live: False", "released, live: True"]
    assert scene.target.documents["d00"].text == "just before the freeze"
    assert scene.target.documents["d01"].text == "just after the freeze"


def test_a_killed_cutover_is_completed(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.cutover.live = False
    scene.job.save(scene.job.state().model_copy(update={"phase": "switching"}))
    scene.edit("d03", "edited meanwhile")
    result = cut_over(scene.job, scene.migration, NEW)
    assert (result.checks, result.reconciled) == (None, 1)
    assert scene.cutover.live
    assert scene.job.state().phase == "switched"


def test_in_place_late_writes_are_embedded_by_more_passes(scene: Scene) -> None:
    scene.use_one_collection()

    @contextmanager
    def freeze() -> Iterator[None]:
        yield
        text = "edited at the cutover"
        scene.collection.put("d04", text, "old", NEW.vector(text))

    migration = replace(scene.migration, write_freeze=freeze)
    assert cut_over(scene.job, migration, NEW, force=True).reconciled == 1
    assert not (scene.job.path / "snapshot.sqlite").exists()


def test_a_job_that_never_ran_is_refused(tmp_path: Path) -> None:
    _, _, migration = memory_migration()
    with pytest.raises(ReindexError, match="No pass is complete"):
        cut_over(Job.create(tmp_path / "job", make_plan()), migration, NEW)


@pytest.mark.parametrize("phase", ["cleaning", "cleaned"])
def test_a_cleaned_job_is_over(phase: str, scene: Scene) -> None:
    scene.job.save(scene.job.state().model_copy(update={"phase": phase}))
    with pytest.raises(ReindexError, match="This job was cleaned"):
        cut_over(scene.job, scene.migration, NEW)


@pytest.mark.parametrize("run_between", [False, True])
def test_a_second_cutover_keeps_what_was_written_to_the_target_in_between(
    scene: Scene, run_between: bool
) -> None:
    """An insert, an edit and a deletion on the new side survive a rollback and another switch."""
    cut_over(scene.job, scene.migration, NEW)
    scene.write_target("new", "inserted")
    scene.write_target("d01", "edited")
    scene.target.remove("d02")
    assert rollback(scene.job, scene.migration).left_behind == 3
    scene.edit("d03", "edited after the rollback")
    scene.source.remove("d04")
    if run_between:
        run(scene.job, scene.migration, NEW)
    result = cut_over(scene.job, scene.migration, NEW)
    assert result.checks is not None
    assert result.checks.problems == []
    found = {key: each.text for key, each in scene.target.documents.items()}
    assert (found["new"], found["d01"]) == ("inserted", "edited")
    assert (found["d03"], "d02" in found, "d04" in found) == (
        "edited after the rollback",
        False,
        False,
    )


def test_documents_that_changed_on_both_sides_are_counted_and_replaced_only_if_forced(
    scene: Scene,
) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.write_target("d01", "edited in the target")
    rollback(scene.job, scene.migration)
    scene.edit("d01", "edited in the source")
    with pytest.raises(QualityGateError, match="1 documents were changed both in the source and"):
        cut_over(scene.job, scene.migration, NEW)
    assert not scene.cutover.live
    assert scene.target.documents["d01"].text == "edited in the target"
    assert scene.source.documents["d01"].text == "edited in the source"
    cut_over(scene.job, scene.migration, NEW, force=True)
    assert scene.target.documents["d01"].text == "edited in the source"


def test_a_conflict_of_the_last_moment_is_refused_too(scene: Scene) -> None:
    @contextmanager
    def freeze() -> Iterator[None]:
        scene.write_target("d01", "edited in the target")
        scene.edit("d01", "edited in the source")
        yield

    migration = replace(scene.migration, write_freeze=freeze)
    with pytest.raises(QualityGateError, match="1 documents were changed both"):
        cut_over(scene.job, migration, NEW)
    assert (scene.cutover.live, scene.job.state().phase) == (False, "settled")


def test_after_the_cutover_the_target_wins_and_the_source_keeps_its_own(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.edit("d01", "late in the source")
    scene.write_target("d01", "new in the target")
    result = cut_over(scene.job, scene.migration, NEW, force=True)
    assert (result.reconciled, result.conflicts) == (0, 1)
    assert scene.target.documents["d01"].text == "new in the target"
    assert scene.source.documents["d01"].text == "late in the source"


def test_applications_that_write_all_the_while_do_not_keep_it_from_cutting_over(
    scene: Scene,
) -> None:
    """One document is written after every batch, so that no pass ever finds nothing."""
    count = 0

    def write(_: object) -> None:
        nonlocal count
        count += 1
        scene.edit(f"late{count}", f"text late {count}")

    result = cut_over(scene.job, scene.migration, NEW, on_progress=write)
    assert result.checks is not None
    assert result.checks.problems == []
    assert scene.cutover.live
