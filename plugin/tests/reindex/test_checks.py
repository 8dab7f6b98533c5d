from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.scene import Scene
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.errors import ReindexError
from lusifer.reindex.checks import CheckOptions, check
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.job import Job
from lusifer.reindex.quality_gate import GateOptions
from lusifer.reindex.runner import PassOptions, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_job_that_never_ran_is_refused(tmp_path: Path) -> None:
    _, _, migration = memory_migration()
    with pytest.raises(ReindexError, match="No pass is complete"):
        check(Job.create(tmp_path / "job", make_plan()), migration, NEW)


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


def test_what_was_written_since_the_last_pass_is_copied_and_no_fault(scene: Scene) -> None:
    scene.edit("new", "text new")
    scene.edit("d01", "edited")
    scene.source.remove("d02")
    # A pass that was paused has read the documents before the edit.
    run(scene.job, scene.migration, NEW, PassOptions(stopped=lambda: True))
    scene.edit("d00", "edited behind the cursor")
    assert check(scene.job, scene.migration, NEW).problems == []
    assert scene.target.documents["d00"].text == "edited behind the cursor"


def test_in_place_a_text_that_can_not_be_embedded_is_reported(scene: Scene) -> None:
    scene.use_one_collection()
    scene.collection.put("blank", " ", "old", NEW.vector("x"))
    scene.collection.put("new", "text new", "old", NEW.vector("text new"))
    checks = check(scene.job, scene.migration, NEW)
    assert checks.verification.problems == [
        "1 documents have no new vector, so no search will find them; 0 have no old one."
    ]
