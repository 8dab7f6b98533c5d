from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.scene import Scene
from plugin.tests.reindex.support import NEW, OLD

from lusifer.errors import ReindexError
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.rollback import RollbackResult, fill_vectors, rollback
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_is_only_in_the_target_is_counted(scene: Scene) -> None:
    cut_over(scene.job, scene.migration, NEW)
    scene.target.put(Document("new", "new", {}), NEW.vector("new"))
    scene.target.remove("d01")
    scene.target.edit(Document("d02", "edited in part", {}))
    # A document that both sides got alike is on neither side only.
    for side in (scene.source, scene.target):
        side.put(Document("both", "both", {}), NEW.vector("both"))
    assert rollback(scene.job, scene.migration) == RollbackResult(left_behind=3, lacking=0)
    assert (scene.cutover.live, scene.job.state().phase) == (False, "rolled-back")
    with pytest.raises(ReindexError, match="there is nothing to roll back"):
        rollback(scene.job, scene.migration)


@pytest.mark.parametrize("phase", ["cleaning", "cleaned"])
def test_a_cleaned_job_is_over(phase: str, scene: Scene) -> None:
    scene.job.save(scene.job.state().model_copy(update={"phase": phase}))
    with pytest.raises(ReindexError, match="There is no way back"):
        rollback(scene.job, scene.migration)


class TestInPlace:
    @pytest.fixture(autouse=True)
    def _written_since_the_switch(self, scene: Scene) -> None:
        scene.use_one_collection()
        cut_over(scene.job, scene.migration, NEW, force=True)
        for key in ("d01", "new"):
            scene.collection.put(key, f"new text {key}", "new", NEW.vector(f"new text {key}"))

    def test_it_is_refused_while_documents_lack_the_old_vector(self, scene: Scene) -> None:
        with pytest.raises(ReindexError, match="2 documents lack the vector lusifer, such as"):
            rollback(scene.job, scene.migration)
        assert scene.cutover.live
        assert rollback(scene.job, scene.migration, force=True) == RollbackResult(0, 2)
        assert not scene.cutover.live

    def test_the_old_model_makes_the_vectors(self, scene: Scene) -> None:
        calls: list[int] = []

        def fill() -> None:
            calls.append(fill_vectors(scene.backwards(), OLD, 4))
            if len(calls) == 1:
                scene.collection.put("late", "late text", "new", NEW.vector("late text"))

        assert rollback(scene.job, scene.migration, fill=fill) == RollbackResult(0, 0)
        assert calls == [2, 1]
        for key in ("d01", "new", "late"):
            document = scene.collection.documents[key]
            assert scene.collection.vectors["old"][key].tolist() == (
                OLD.vector(document.text).tolist()
            )
