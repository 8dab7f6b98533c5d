from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.memory import MemoryEndpoint, memory_migration
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.reindex import reconciliation
from lusifer.reindex.job import Job, PassTally
from lusifer.reindex.reconciliation import changes_of
from lusifer.reindex.runner import PassOptions, run_passes
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def document(key: str, text: str) -> Document:
    return Document(key, text, {"lang": "en"})


class Scene:
    """A source and its copy."""

    def __init__(self, folder: Path, *, clock: bool) -> None:
        self.source, self.target, self.migration = memory_migration(clock=clock)
        self.job = Job.create(folder / "job", make_plan(window=2))
        for key in "abcde":
            self.source.put(document(key, f"text {key}"))
        self.reconcile()

    def reconcile(self, *, overwrite: bool = False) -> PassTally:
        state = self.job.state()
        before = len(state.passes)
        run_passes(self.job, state, self.migration, NEW, PassOptions(overwrite=overwrite))
        made = state.passes[before:]
        return PassTally(
            written=sum(each.written for each in made),
            gone=sum(each.gone for each in made),
            conflicts=made[-1].conflicts,
        )


@pytest.fixture(params=["marks", "times"])
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    return Scene(tmp_path, clock=request.param == "times")


def texts(endpoint: MemoryEndpoint) -> dict[str, str]:
    """Return the texts that are not those of the copies, and an empty one for a missing document."""
    found = {key: each.text for key, each in endpoint.documents.items()}
    return {
        key: found.get(key, "")
        for key in sorted({*found, *"abcde"})
        if found.get(key) != f"text {key}"
    }


def test_without_late_writes_nothing_is_copied(scene: Scene) -> None:
    assert scene.reconcile() == PassTally()


def test_late_writes_and_deletions_are_copied(scene: Scene) -> None:
    scene.source.put(document("a", "edited"))
    scene.source.put(document("f", "added"))
    scene.source.remove("c")
    assert scene.reconcile() == PassTally(written=2, gone=1)
    assert texts(scene.target) == {"a": "edited", "c": "", "f": "added"}
    assert scene.target.stored_vectors["a"].tolist() == NEW.vector("edited").tolist()
    assert scene.reconcile() == PassTally()


def test_what_an_application_wrote_to_the_target_stays(scene: Scene) -> None:
    scene.target.put(document("a", "new in the target"))
    scene.target.put(document("f", "new in the target"))
    scene.target.remove("b")
    scene.target.edit(document("c", "edited in part"))
    assert scene.reconcile() == PassTally()
    expected = {"a": "new in the target", "b": "", "c": "edited in part", "f": "new in the target"}
    assert texts(scene.target) == expected
    changes = changes_of(scene.job, scene.migration)
    assert (set(changes.target_only), changes.count("target_only")) == (set("abcf"), 4)
    assert changes.target_only["b"] == ""
    assert changes.count("source_only", "both") == 0
    # Also where the command was told to let the source win: only the target changed.
    assert scene.reconcile(overwrite=True) == PassTally()
    assert texts(scene.target) == expected


def test_what_changed_on_both_sides_is_counted_and_left_alone(scene: Scene) -> None:
    for key in "abcg":
        scene.source.put(document(key, "late in the source"))
    scene.source.remove("d")
    scene.source.put(document("f", "late in the source"))
    scene.target.put(document("a", "new in the target"))
    scene.target.remove("b")
    # Identical to our copy, and yet the application's own.
    scene.target.put(document("c", "text c"))
    scene.target.put(document("d", "text d"))
    scene.target.put(document("f", "new in the target"))
    theirs = {"a": "new in the target", "b": "", "f": "new in the target"}
    for _ in range(2):
        changes = changes_of(scene.job, scene.migration)
        assert set(changes.both) == set("abcdf")
        assert changes.count("source_only") == len(changes.source_only)
        scene.reconcile()
        assert texts(scene.target) == {**theirs, "g": "late in the source"}
    assert changes.counts == {"both": 5}
    assert scene.reconcile(overwrite=True) == PassTally(written=4, gone=1)
    late = dict.fromkeys("abcfg", "late in the source")
    assert texts(scene.target) == {**late, "d": ""}
    assert changes_of(scene.job, scene.migration).counts == {}


def test_what_an_application_wrote_to_both_sides_is_no_conflict(scene: Scene) -> None:
    scene.source.put(document("f", "the same on both sides"))
    scene.target.put(document("f", "the same on both sides"))
    assert scene.reconcile() == PassTally()
    assert changes_of(scene.job, scene.migration).counts == {}
    scene.source.remove("f")
    # Not a copy, so not ours to delete.
    assert scene.reconcile() == PassTally(conflicts=1)
    assert texts(scene.target) == {"f": "the same on both sides"}


def test_a_document_that_both_sides_lost_may_come_back(scene: Scene) -> None:
    scene.target.remove("a")
    scene.source.remove("a")
    assert scene.reconcile() == PassTally()
    scene.source.put(document("a", "text a"))
    assert scene.reconcile() == PassTally(written=1)
    assert texts(scene.target) == {}


def test_changes_are_counted_beyond_those_that_are_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_KEYS_KEPT", 2)
    monkeypatch.setattr(reconciliation, "_KEYS_AT_ONCE", 2)
    monkeypatch.setattr(reconciliation, "_RECORDS_AT_ONCE", 2)
    for key in "abc":
        scene.source.put(document(key, "edited"))
    for key in "de":
        scene.source.remove(key)
    changes = changes_of(scene.job, scene.migration)
    assert (list(changes.source_only), changes.count("source_only")) == (["a", "b"], 5)


def test_a_file_can_not_be_asked_what_is_gone(scene: Scene) -> None:
    object.__setattr__(scene.migration, "searchable", False)
    scene.source.put(document("a", "edited"))
    scene.source.remove("b")
    scene.target.put(document("f", "added"))
    changes = changes_of(scene.job, scene.migration)
    assert (set(changes.source_only), set(changes.target_only)) == ({"a"}, {"f"})
    assert scene.reconcile() == PassTally(written=1)


def test_in_place_what_lacks_a_current_vector_is_found(scene: Scene) -> None:
    object.__setattr__(scene.migration, "in_place", True)
    scene.source.put(document("a", "edited"))
    changes = changes_of(scene.job, scene.migration)
    assert changes.source_only == {"a": scene.source.record("a").sha256}
