from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, OLD, make_plan

from lusifer.reindex.job import Job
from lusifer.reindex.runner import PassOptions, run_passes
from lusifer.reindex.snapshot import open_snapshot
from lusifer.reindex.verification import Verification, verify
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RIGHT: dict[str, Any] = {
    "old": 1000, "new": 1000, "missing": 0, "missing_keys": (), "removed": 0, "kept": 0,
    "conflicts": 0, "old_without_vector": 0, "new_without_vector": 0, "sampled": 200, "wrong": (),
    "worst_cosine": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        # What applications wrote to the target is no fault.
        ({"new": 998, "kept": 2}, []),
        (
            {"missing": 1234, "missing_keys": ("a", "b", "c", "d")},
            [
                "1,234 documents of the source are not in the target, or not as they are now: a, b, "
                "c, …."
            ],
        ),
        (
            {"removed": 2},
            [
                "2 documents are gone from the target after they were copied: somebody deleted them, "
                "or the database lost them."
            ],
        ),
        (
            {"conflicts": 3},
            [
                "3 documents were changed both in the source and in the target; --force replaces the "
                "target's by the source's."
            ],
        ),
        (
            {"old_without_vector": 1, "new_without_vector": 3},
            ["3 documents have no new vector, so no search will find them; 1 have no old one."],
        ),
        (
            {"wrong": ("a", "b", "c", "d"), "worst_cosine": 0.25},
            [
                "4 of 200 sampled vectors are not those of their texts (worst cosine 0.2500): "
                "a, b, c, …."
            ],
        ),
    ],
)
def test_problems_are_reported(changes: dict[str, Any], problems: list[str]) -> None:
    found = Verification(**{**RIGHT, **changes})
    assert found.problems == problems
    assert found.as_dict()["problems"] == problems


class Scene:
    """A source, a target, and a verification that repairs by a pass."""

    def __init__(self, folder: Path) -> None:
        self.job = Job.create(folder / "job", make_plan())
        self.source, self.target, self.migration = memory_migration()
        self.passes = 0
        self.at_repair: Callable[[], None] = lambda: None

    def verify(self, **options: Any) -> Verification:
        with open_snapshot(self.job.path) as snapshot:
            return verify(self.migration, NEW, snapshot, repair=self.repair, **options)

    def repair(self) -> None:
        self.passes += 1
        self.run()
        self.at_repair()

    def run(self) -> None:
        run_passes(self.job, self.job.state(), self.migration, NEW, PassOptions())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def document(key: str, text: str) -> Document:
    return Document(key, text, {"lang": "en"})


def test_a_copy_with_the_vectors_of_its_texts_is_right(scene: Scene) -> None:
    for number in range(4):
        each = document(f"d{number}", f"text {number}")
        scene.source.put(each, OLD.vector(each.text))
        # Databases keep float32 of any norm.
        scene.target.put(each, 3 * NEW.vector(each.text))
    found = scene.verify(samples=3)
    assert (found.old, found.new, found.sampled, found.missing, found.wrong) == (4, 4, 3, 0, ())
    assert found.worst_cosine == pytest.approx(1.0, abs=1e-6)
    assert (found.problems, scene.passes) == ([], 0)


def test_wrong_and_missing_vectors_are_found(scene: Scene) -> None:
    texts = {"a": "one", "b": "two", "c": "three", "d": "four"}
    for key, text in texts.items():
        scene.source.put(document(key, text))
    scene.target.put(document("a", "an older text"), NEW.vector("an older text"))
    scene.target.put(document("b", "two"), NEW.vector("another text"))
    scene.target.put(document("c", "three"), None)
    scene.target.put(document("d", "four"), NEW.vector("four"))
    found = scene.verify()
    assert (found.conflicts, found.wrong) == (1, ("b",))
    expected = float(NEW.vector("two") @ NEW.vector("another text"))
    assert found.worst_cosine == pytest.approx(expected, abs=1e-6)
    assert (found.old_without_vector, found.new_without_vector) == (4, 1)


def test_what_applications_wrote_meanwhile_is_copied_and_compared_again(scene: Scene) -> None:
    for key in "abcd":
        scene.source.put(document(key, "one"))
    scene.run()
    scene.source.put(document("a", "edited"))
    scene.source.put(document("e", "added"))
    scene.source.remove("b")
    # And again, as soon as that is repaired.
    scene.at_repair = lambda: scene.source.put(document("a", "edited again"))
    found = scene.verify()
    assert (found.problems, found.missing, scene.passes) == ([], 0, 1)
    assert scene.target.documents["a"].text == "edited"
    assert set(scene.target.documents) == set("acde")


def test_what_no_pass_can_repair_is_a_fault(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in "abcde":
        scene.source.put(document(key, "one"))
    monkeypatch.setattr(scene.target, "write", lambda rows, expected: {})
    found = scene.verify()
    assert (found.missing, found.missing_keys) == (5, ("a", "b", "c", "d"))
    assert len(found.problems) == 1


@pytest.mark.parametrize("was_live", [False, True])
def test_a_copy_that_is_gone_is_a_fault_until_applications_have_seen_the_target(
    scene: Scene, was_live: bool
) -> None:
    for key in "abc":
        scene.source.put(document(key, "one"))
    scene.run()
    scene.target.remove("b")
    scene.target.put(document("d", "of an application"))
    scene.target.put(document("e", "of an application"))
    found = scene.verify(was_live=was_live)
    assert (found.removed, found.kept, len(found.problems)) == (not was_live, 3, not was_live)


def test_a_vector_that_is_not_finite_is_wrong(scene: Scene) -> None:
    scene.source.put(document("a", "one"))
    scene.target.put(document("a", "one"), np.full(8, np.nan))
    assert scene.verify().wrong == ("a",)


def test_in_place_the_sample_is_taken_from_the_target(scene: Scene) -> None:
    object.__setattr__(scene.migration, "in_place", True)
    scene.target.put(document("a", "one"), NEW.vector("two"))
    found = scene.verify()
    assert (found.sampled, found.wrong) == (1, ("a",))
    assert scene.source.count() == found.old == 0
