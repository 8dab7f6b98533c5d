from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import MemoryEndpoint, memory_migration
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.reindex.job import Job
from lusifer.reindex.reconciliation import copy_deletions, copy_writes, reconcile
from lusifer.reindex.snapshot import fill_snapshot, open_snapshot
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def document(key: str, text: str) -> Document:
    return Document(key, text, {"lang": "en"})


class Scene:
    """A source, its copy, and the snapshot of the moment when applications began to see the copy."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.source, self.target, self.migration = memory_migration()
        self.job = Job.create(folder / "job", make_plan(window=2))
        for key in keys:
            self.source.put(document(key, f"text {key}"))
        rows = [(each, NEW.vector(each.text)) for each in self.source.sample(99, 0)]
        self.target.write(rows, {})
        fill_snapshot(self.job.path, self.migration)

    def reconcile(self) -> int:
        return reconcile(self.job, self.migration, NEW)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, "abcde")


def texts(endpoint: MemoryEndpoint) -> dict[str, str]:
    """Return the texts that are not those of the copies, and an empty one for a missing document."""
    found = {key: each.text for key, each in endpoint.documents.items()}
    return {
        key: found.get(key, "")
        for key in sorted({*found, *"abcde"})
        if found.get(key) != f"text {key}"
    }


def test_without_late_writes_nothing_is_copied(scene: Scene) -> None:
    assert scene.reconcile() == 0


def test_late_writes_and_deletions_are_copied(scene: Scene) -> None:
    scene.source.put(document("a", "edited"))
    scene.source.put(document("f", "added"))
    scene.source.remove("c")
    assert scene.reconcile() == 3
    assert texts(scene.target) == {"a": "edited", "c": "", "f": "added"}
    assert scene.target.stored_vectors["a"].tolist() == NEW.vector("edited").tolist()
    assert scene.reconcile() == 0


def test_what_an_application_wrote_to_the_target_wins(scene: Scene) -> None:
    for key in "abc":
        scene.source.put(document(key, "late in the source"))
    scene.source.remove("d")
    scene.source.put(document("f", "late in the source"))
    scene.target.put(document("a", "new in the target"))
    scene.target.remove("b")
    # Identical to our copy, and yet the application's own.
    scene.target.put(document("c", "text c"))
    scene.target.put(document("d", "text d"))
    scene.target.put(document("f", "new in the target"))
    assert scene.reconcile() == 0
    assert texts(scene.target) == {"a": "new in the target", "b": "", "f": "new in the target"}


def test_an_edit_of_a_part_of_a_copy_wins(scene: Scene) -> None:
    for key in "ab":
        scene.target.edit(document(key, "edited in part"))
    scene.source.put(document("a", "late in the source"))
    scene.source.remove("b")
    assert scene.reconcile() == 0
    assert texts(scene.target) == {"a": "edited in part", "b": "edited in part"}


def test_an_application_that_wrote_what_the_source_has_keeps_it(scene: Scene) -> None:
    scene.source.put(document("f", "the same on both sides"))
    scene.target.put(document("f", "the same on both sides"))
    assert scene.reconcile() == 0
    scene.source.remove("f")
    assert scene.reconcile() == 0
    assert texts(scene.target) == {"f": "the same on both sides"}


def test_a_decision_holds_until_the_source_changes_again(scene: Scene) -> None:
    scene.source.put(document("a", "late in the source"))
    scene.target.put(document("a", "new in the target"))
    assert scene.reconcile() == 0
    scene.source.put(document("b", "late in the source"))
    assert scene.reconcile() == 1
    scene.source.put(document("b", "later in the source"))
    assert scene.reconcile() == 1
    assert texts(scene.target)["b"] == "later in the source"
    assert texts(scene.target)["a"] == "new in the target"


def test_a_file_can_not_be_reconciled(scene: Scene) -> None:
    scene.source.put(document("a", "edited"))
    object.__setattr__(scene.migration, "searchable", False)
    assert scene.reconcile() == 0


def test_each_step_counts_what_it_did(scene: Scene) -> None:
    scene.source.put(document("a", "edited"))
    scene.source.remove("b")
    scene.source.remove("c")
    with open_snapshot(scene.job.path) as snapshot:
        assert copy_writes(scene.migration, NEW, snapshot, batch_size=2) == 1
        assert copy_deletions(scene.migration, snapshot) == 2
        assert snapshot.get("abcde") == scene.target.noted
