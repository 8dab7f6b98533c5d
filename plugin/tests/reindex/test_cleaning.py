from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.scene import Scene
from plugin.tests.reindex.support import NEW, OLD

from lusifer.errors import IndexNotFoundError, ReindexError
from lusifer.reindex import cleaning
from lusifer.reindex.cleaning import clean
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.reconciliation import Changes
from lusifer.reindex.rollback import rollback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    cut_over(made.job, made.migration, NEW)
    return made


@pytest.mark.parametrize(("live", "removed"), [(True, "the source"), (False, "the target")])
def test_clean_deletes_what_is_not_live(live: bool, removed: str, scene: Scene) -> None:
    scene.cutover.live = live
    assert clean(scene.job, scene.migration) == removed
    assert scene.job.state().phase == "cleaned"
    assert not (scene.job.path / "snapshot.sqlite").exists()
    assert any("@" in version for version in scene.target.noted.values()) != live


def test_what_was_written_to_the_source_since_the_switch_keeps_it(scene: Scene) -> None:
    scene.edit("new", "late")
    scene.edit("d01", "late")
    scene.source.remove("d02")
    scene.edit("d03", "late")
    scene.write_target("d03", "new in the target")
    with pytest.raises(
        ReindexError,
        match=r"^3 documents were written to v1 .* or deleted from it, and not in v2 .* "
        "1 documents were changed both",
    ):
        clean(scene.job, scene.migration)
    assert scene.job.state().phase == "switched"
    assert cut_over(scene.job, scene.migration, NEW).reconciled == 3
    with pytest.raises(ReindexError, match=r"^1 documents were changed both"):
        clean(scene.job, scene.migration)
    assert clean(scene.job, scene.migration, force=True) == "the source"
    assert scene.target.documents["d03"].text == "new in the target"


def test_what_was_written_to_the_target_keeps_it_after_a_rollback(scene: Scene) -> None:
    scene.write_target("new", "of the target")
    scene.target.remove("d01")
    rollback(scene.job, scene.migration)
    with pytest.raises(ReindexError, match=r"^2 documents were written to v2 .* and not in v1 "):
        clean(scene.job, scene.migration)
    assert clean(scene.job, scene.migration, force=True) == "the target"


def test_clean_refuses_to_delete_a_source_that_something_uses(scene: Scene) -> None:
    scene.cutover.uses = ["Authors refers to it.", "An alias, too."]
    with pytest.raises(ReindexError, match=r"in use\. Authors refers to it\. An alias, too\."):
        clean(scene.job, scene.migration)
    assert scene.job.state().phase == "switched"
    assert clean(scene.job, scene.migration, force=True) == "the source"


def test_what_uses_the_source_does_not_keep_the_target(scene: Scene) -> None:
    scene.cutover.live, scene.cutover.uses = False, ["Authors refers to it."]
    assert clean(scene.job, scene.migration) == "the target"


@pytest.mark.parametrize(("live", "held"), [(True, "source"), (False, "target")])
def test_nobody_writes_from_the_count_to_the_deletion_where_that_is_possible(
    live: bool, held: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    scene.cutover.live = live

    @contextmanager
    def hold() -> Iterator[None]:
        events.append("held")
        yield
        events.append("released")

    def event(name: str, answer: Any) -> Any:
        return lambda *_: (events.append(name), answer)[1]

    monkeypatch.setattr(cleaning, "changes_of", event("counted", Changes()))
    monkeypatch.setattr(scene.cutover, f"remove_{held}", event("deleted", ""))
    clean(scene.job, replace(scene.migration, **{f"{held}_hold": hold}))
    assert events == ["held", "counted", "deleted", "released"]


def test_one_that_was_killed_after_the_deletion_is_completed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise IndexNotFoundError("no v1", next_step="")

    monkeypatch.setattr(scene.source, "read", gone)
    with pytest.raises(IndexNotFoundError):
        clean(scene.job, scene.migration)
    scene.job.save(scene.job.state().model_copy(update={"phase": "cleaning"}))
    assert clean(scene.job, scene.migration) == "the source"


@pytest.mark.parametrize("back", [False, True])
def test_in_place_no_document_is_left_without_a_vector(tmp_path: Path, back: bool) -> None:
    scene = Scene(tmp_path / "in place")
    scene.use_one_collection()
    cut_over(scene.job, scene.migration, NEW, force=True)
    written, kept = ("new", "lusifer") if back else ("old", "second")
    for key in ("d01", "late"):
        scene.collection.put(key, f"late {key}", written, OLD.vector(f"late {key}"))
    if back:
        rollback(scene.job, scene.migration, force=True)
    with pytest.raises(ReindexError, match=f"2 documents lack the vector {kept}: without"):
        clean(scene.job, scene.migration)
    cut_over(scene.job, scene.migration, NEW, force=True)
    assert clean(scene.job, scene.migration) == "the source"
