"""Applications that write while a collection is re-embedded: a state machine over any database.

A world is the database. The machine records what must be there, interleaves writes, edits and
deletions with batches, kills and restarts, and compares. Every document must have exactly the
vector of its text, no deleted one may return, and no payload may be lost.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plugin.tests.reindex.support import NEW, OLD, TextEmbedder, fast_folder, make_plan

from lusifer.reindex.checks import CheckOptions
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.job import Job
from lusifer.reindex.quality_gate import GateOptions
from lusifer.reindex.rollback import rollback
from lusifer.reindex.runner import PassOptions, run
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.reindex.endpoints.base import Migration

IDS = [f"doc/{index}" for index in range(12)]
TEXTS = [f"text {index}" for index in range(6)]
DELETE, AGAIN = "delete", "again"
"""Beside a text to write: delete, or write what was there at first, to the letter."""
FEW = CheckOptions(samples=4, gate=GateOptions(per_language=1))


class Killed(BaseException):
    """The process ends here."""


class World(Protocol):
    """A database with one live collection, as an application uses it."""

    in_place: bool
    freezes_writes: bool
    """Whether nobody can write in the last moment before a cutover."""

    def migration(self) -> Migration:
        """Open source and target as a fresh process would."""
        ...

    def write(self, document: Document, vector: NDArray[np.float32]) -> None:
        """Write as the application, to what it sees."""
        ...

    def delete(self, document_id: str) -> None:
        """Delete as the application, from what it sees."""
        ...

    def everything(self, vector_of: str) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        """Return what the application sees; ``vector_of``: ``old`` or ``new``."""
        ...

    def close(self) -> None:
        """Remove the database."""
        ...


def cut_over_while(
    job: Job,
    migration: Migration,
    *,
    before: Callable[[], None],
    at_the_switch: Callable[[], None],
    after: Callable[[], None],
) -> None:
    """Cut over while an application writes.

    Args:
        job: It has run.
        migration: Source and target.
        before: In the last moment before the alias changes, if the database lets writers in.
        at_the_switch: Just before it does.
        after: As soon as it has.
    """
    activate, write_freeze = migration.cutover.activate, migration.write_freeze

    def show() -> None:
        before()
        at_the_switch()
        activate()

    @contextmanager
    def watched() -> Iterator[None]:
        with write_freeze():
            yield
        after()

    migration.cutover.activate = show  # type: ignore[method-assign]
    with job.locked():
        cut_over(job, replace(migration, write_freeze=watched), NEW, FEW, force=True)


def written_again(world: World, folder: Path) -> None:
    """Delete and edit documents in the source, and write the first ones to the target again."""
    first = {id_: Document(id_, f"text of {id_}", {"edit": 0, "lang": "en"}) for id_ in IDS}
    for document in first.values():
        world.write(document, OLD.vector(document.text))
    migration = world.migration()
    job = Job.create(folder / "job", make_plan(in_place=world.in_place))
    with job.locked():
        assert run(job, migration, NEW).phase == "settled"
    deleted, edited, added = (
        IDS[0],
        IDS[1],
        Document("new", "a new text", {"edit": 1, "lang": "en"}),
    )

    def before() -> None:
        world.delete(deleted)
        world.delete(IDS[2])
        other = Document(edited, "an edited text", {"edit": 1, "lang": "en"})
        for document in (other, added):
            world.write(document, OLD.vector(document.text))

    def after() -> None:
        for id_ in (deleted, edited):
            world.write(first[id_], NEW.vector(first[id_].text))
        world.delete(IDS[3])

    cut_over_while(job, migration, before=before, at_the_switch=lambda: None, after=after)
    migration.close()
    expected = {id_: document for id_, document in first.items() if id_ not in IDS[2:4]} | {
        "new": added
    }
    found = world.everything("new")
    assert {id_: document for id_, (document, _) in found.items()} == expected
    for id_, (document, vector) in found.items():
        assert vector is not None
        np.testing.assert_allclose(vector, NEW.vector(document.text), atol=1e-5, err_msg=id_)


class Machine(RuleBasedStateMachine):
    """Subclasses give ``make_world``."""

    @staticmethod
    def make_world(folder: Path) -> World:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.folder = fast_folder()
        self.world = self.make_world(self.folder)
        self.job = Job.create(self.folder / "job", make_plan(in_place=self.world.in_place))
        self.live: dict[str, Document] = {}
        self.source_documents: dict[str, Document] | None = None
        """Documents that the source must show after a rollback; None before a cutover."""
        self.edits = 0
        self.rolled_back = False

    @initialize(chosen=st.lists(st.sampled_from(IDS), unique=True, min_size=3))
    def fill(self, chosen: list[str]) -> None:
        for id_ in chosen:
            self.write(id_, TEXTS[0])

    @rule(id_=st.sampled_from(IDS), text=st.sampled_from(TEXTS))
    def write(self, id_: str, text: str) -> None:
        self.edits += 1
        self.write_as_it_is(Document(id_, text, {"edit": self.edits, "lang": "en"}))

    def write_as_it_is(self, document: Document) -> None:
        model = NEW if self.switched else OLD
        self.world.write(document, model.vector(document.text))
        self.live[document.id] = document

    @rule(id_=st.sampled_from(IDS))
    def delete(self, id_: str) -> None:
        if id_ in self.live:
            self.world.delete(id_)
            del self.live[id_]

    @rule(data=st.data())
    @precondition(lambda self: not self.switched)
    def one_batch(self, data: st.DataObject) -> None:
        """Run one batch in a process of its own; applications write while it embeds."""
        NEW.during = self.some_writes(data)
        try:
            self.run(maximum_passes=1, stopped=lambda: True)
        finally:
            NEW.during = None

    @rule(after=st.booleans())
    @precondition(lambda self: not self.switched)
    def killed(self, after: bool) -> None:
        """Kill before or after the write of a batch, always before its checkpoint."""
        migration = self.world.migration()
        write = migration.target.write

        def dying(*arguments: Any) -> int:
            if after:
                write(*arguments)
            raise Killed

        migration.target.write = dying  # type: ignore[method-assign]
        try:
            with self.job.locked():
                run(self.job, migration, NEW, PassOptions(maximum_passes=1))
        except Killed:
            pass
        finally:
            migration.close()

    @rule()
    @precondition(lambda self: not self.switched)
    def whole_run(self) -> None:
        state = self.run()
        assert state.phase == "settled"
        migration = self.world.migration()
        try:
            assert self.rolled_back or migration.target.count() == len(self.live)
            assert migration.target.count_without_vector() == 0
        finally:
            migration.close()

    @rule(data=st.data(), killed=st.sampled_from(["not", "before", "after"]))
    @precondition(lambda self: not self.switched and self.live and not self.rolled_back)
    def switch(self, data: st.DataObject, killed: str) -> None:
        """Write just before and just after the cutover, and while it is reconciled."""
        self.run()
        held = set(self.live)
        before = self.some_writes(data)
        # A document that was added in the last moment and deleted right after looks like one that is
        # still to be copied: these databases keep no trace of what was deleted.
        after = self.some_writes(data, lambda id_: id_ in held)
        later = self.some_writes(data, lambda id_: id_ in held)
        migration = self.world.migration()

        def at_the_switch() -> None:
            if killed == "before":
                raise Killed
            self.source_documents = dict(self.live)

        def then() -> None:
            if killed == "after":
                raise Killed
            after()
            NEW.during = later

        try:
            cut_over_while(
                self.job,
                migration,
                before=before if not self.world.freezes_writes else lambda: None,
                at_the_switch=at_the_switch,
                after=then,
            )
        except Killed:
            migration.close()
            after()
            self.source_documents = self.source_documents or dict(self.live)
            self.complete()
        finally:
            NEW.during = None
            migration.close()
        self.right()

    @rule()
    @precondition(lambda self: self.switched)
    def complete(self) -> None:
        """Run the command again, after a kill or to copy what stragglers wrote."""
        migration = self.world.migration()
        try:
            with self.job.locked():
                cut_over(self.job, migration, NEW)
        finally:
            migration.close()

    @rule()
    @precondition(lambda self: self.switched and not self.world.in_place)
    def roll_back(self) -> None:
        assert self.source_documents is not None
        migration = self.world.migration()
        try:
            rollback(self.job, migration)
        finally:
            migration.close()
        self.live, self.source_documents = self.source_documents, None
        self.rolled_back = True
        self.compare(self.world.everything("old"), OLD)

    @invariant()
    def payloads_are_never_lost(self) -> None:
        side = "new" if self.switched else "old"
        found = self.world.everything(side)
        assert {id_: document for id_, (document, _) in found.items()} == self.live

    def teardown(self) -> None:
        try:
            if self.rolled_back:
                return
            if not self.switched:
                assert self.run().phase == "settled"
                migration = self.world.migration()
                try:
                    with self.job.locked():
                        cut_over(self.job, migration, NEW, FEW, force=True)
                finally:
                    migration.close()
                self.source_documents = dict(self.live)
            self.right()
        finally:
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def switched(self) -> bool:
        return self.source_documents is not None

    def run(self, **options: Any) -> Any:
        migration = self.world.migration()
        try:
            with self.job.locked():
                return run(Job(self.job.path), migration, NEW, PassOptions(**options))
        finally:
            migration.close()

    def right(self) -> None:
        self.compare(self.world.everything("new"), NEW)

    def compare(
        self, found: dict[str, tuple[Document, NDArray[np.float32] | None]], model: TextEmbedder
    ) -> None:
        assert {id_: document for id_, (document, _) in found.items()} == self.live
        for id_, (document, vector) in found.items():
            assert vector is not None, id_
            np.testing.assert_allclose(vector, model.vector(document.text), atol=1e-5, err_msg=id_)

    def some_writes(
        self, data: st.DataObject, deletable: Callable[[str], bool] = lambda _: True
    ) -> Callable[[], None]:
        ways = [*TEXTS, DELETE, AGAIN]
        changes = data.draw(
            st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(ways)), max_size=4)
        )
        known = dict(self.live)

        def write() -> None:
            for id_, text in changes:
                if text == AGAIN:
                    if id_ in known:
                        self.write_as_it_is(known[id_])
                elif text != DELETE:
                    self.write(id_, text)
                elif deletable(id_):
                    self.delete(id_)

        return write
