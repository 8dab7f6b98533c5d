from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.memory import MemoryCutover, memory_migration
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.errors import QualityGateError, ReindexError
from lusifer.reindex.cutover import CheckOptions, check, clean, cut_over, rollback
from lusifer.reindex.job import Job, State
from lusifer.reindex.quality_gate import GateOptions
from lusifer.reindex.runner import run
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = [f"d{number:02}" for number in range(12)]


class Scene:
    """Twelve documents that were re-embedded and are ready for the cutover."""

    def __init__(self, folder: Path, **plan: Any) -> None:
        self.job = Job.create(folder / "job", make_plan(**plan))
        self.source, self.target, self.migration = memory_migration()
        for key in KEYS:
            document = Document(key, f"text {key}", {"lang": "en", "title": f"text {key}"})
            self.source.put(document, NEW.vector(document.text))
        run(self.job, self.migration, NEW)

    @property
    def cutover(self) -> MemoryCutover:
        assert isinstance(self.migration.cutover, MemoryCutover)
        return self.migration.cutover

    def edit(self, key: str, text: str) -> None:
        self.source.put(Document(key, text, {"lang": "en", "title": text}), NEW.vector(text))


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
    @contextmanager
    def freeze() -> Iterator[None]:
        yield
        scene.edit("d04", "edited at the cutover")

    migration = replace(scene.migration, in_place=True, write_freeze=freeze)
    assert cut_over(scene.job, migration, NEW, force=True).reconciled == 1
    assert not (scene.job.path / "ledger.sqlite").exists()


@pytest.mark.parametrize("call", [check, cut_over])
def test_a_job_that_never_ran_is_refused(call: Any, tmp_path: Path) -> None:
    _, _, migration = memory_migration()
    with pytest.raises(ReindexError, match="No pass is complete"):
        call(Job.create(tmp_path / "job", make_plan()), migration, NEW)


def test_after_the_cutover_there_is_nothing_to_verify(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    with pytest.raises(ReindexError, match="there is nothing to compare"):
        check(scene.job, scene.migration, NEW)
    # In place, old and new vectors stay side by side.
    in_place = replace(scene.migration, in_place=True)
    assert check(scene.job, in_place, NEW).problems == []


def test_a_check_takes_its_options(scene: Scene) -> None:
    options = CheckOptions(samples=5, gate=GateOptions(old=NEW, per_language=3))
    checks = check(scene.job, scene.migration, NEW, options)
    assert checks.verification.sampled == 5
    assert checks.gate.languages["en"].questions == 3
    assert checks.gate.languages["en"].recall_old == 1.0


def test_a_rollback_counts_what_is_only_in_the_target(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.target.put(Document("new", "new", {}), NEW.vector("new"))
    assert rollback(scene.job, scene.migration) == 1
    assert (scene.cutover.live, scene.job.state().phase) == (False, "rolled-back")
    with pytest.raises(ReindexError, match="there is nothing to roll back"):
        rollback(scene.job, scene.migration)


@pytest.mark.parametrize(("live", "removed"), [(True, "the source"), (False, "the target")])
def test_clean_deletes_what_is_not_live(live: bool, removed: str, scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.cutover.live = live
    assert clean(scene.job, scene.migration) == removed
    assert scene.job.state().phase == "cleaned"
    assert not (scene.job.path / "ledger.sqlite").exists()
    assert any("@" in version for version in scene.target.noted.values()) != live


def test_clean_refuses_to_delete_a_source_that_something_uses(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.cutover.uses = ["Authors refers to it.", "An alias, too."]
    with pytest.raises(ReindexError, match=r"in use\. Authors refers to it\. An alias, too\."):
        clean(scene.job, scene.migration)
    assert scene.job.state().phase == "switched"
    assert clean(scene.job, scene.migration, force=True) == "the source"


def test_what_uses_the_source_does_not_keep_the_target(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.cutover.live, scene.cutover.uses = False, ["Authors refers to it."]
    assert clean(scene.job, scene.migration) == "the target"


def test_a_cleaned_job_is_over(scene: Scene) -> None:
    state: State = scene.job.state()
    scene.job.save(state.model_copy(update={"phase": "cleaned"}))
    with pytest.raises(ReindexError, match="This job was cleaned"):
        cut_over(scene.job, scene.migration, NEW)
    with pytest.raises(ReindexError, match="There is no way back"):
        rollback(scene.job, scene.migration)
