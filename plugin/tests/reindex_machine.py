"""Applications that write while a collection is re-embedded: state machines over any database.

The promise for all databases: no acknowledged write to either side is lost or undone by any
sequence of commands, unless the command said how many and was told to go on.

A world is the database. The machine writes, edits and deletes on both sides at any moment, also in
the middle of commands, kills commands, and remembers which writes the other side does not have yet.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from plugin.tests.reindex.support import NEW, OLD, fast_folder, make_plan
from plugin.tests.reindex_world import FEW, Killed

from lusifer.errors import QualityGateError, ReindexError, StoreError
from lusifer.reindex.checks import check
from lusifer.reindex.cleaning import clean
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.job import Job
from lusifer.reindex.rollback import fill_vectors, rollback
from lusifer.reindex.runner import PassOptions, run
from lusifer.reindex.snapshot import Snapshot
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from plugin.tests.reindex_world import Side, World

    from lusifer.reindex.endpoints.base import Migration

IDS = [f"doc/{index}" for index in range(6)]
"""Few, so that the same document is met again and again, and more than a batch has."""
CALLS = ("target.write", "target.delete", "target.count", "cutover.activate", "cutover.deactivate")
"""Steps of commands that writes and kills come before or after."""
CLEANING = ("cutover.remove_source", "cutover.remove_target")
_TORTURED = 6
"""Worlds that ``make torture`` shares its time among, beside the real Weaviate."""
_MODELS = {"old": OLD, "new": NEW}

_writes = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(["write", "delete", "again"]), st.booleans()),
    max_size=4,
)
"""What applications do at one moment: id, act, and whether on the old side."""


def machine_settings(examples: int, steps: int) -> settings:
    """Return settings of a machine; a failing run is shown as it is, since shrinking takes long."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def torture(machine: type[RuleBasedStateMachine]) -> None:
    """Run a machine on new random examples for its share of the time."""
    end_s = time.monotonic() + float(os.environ["LUSIFER_TORTURE_S"]) / _TORTURED
    while time.monotonic() < end_s:
        chosen = settings(machine_settings(5, 40), derandomize=False, database=None)
        run_state_machine_as_test(machine, settings=chosen)


class _Machine(RuleBasedStateMachine):
    """Subclasses give ``make_world``."""

    @staticmethod
    def make_world(folder: Path) -> World:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.folder = fast_folder()
        self.world = self.make_world(self.folder)
        self.job = Job.create(self.folder / "job", make_plan(in_place=self.world.in_place))
        self.edits = 0
        self.over = False
        """Whether one side was deleted."""

    def teardown(self) -> None:
        try:
            if not self.over:
                self.finish()
        finally:
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self) -> None:
        """Switch without hindrance, and compare everything."""
        raise NotImplementedError

    def applications(self, writes: list[tuple[str, str, bool]]) -> None:
        """Write as applications."""
        raise NotImplementedError

    def new_document(self, id_: str) -> Document:
        self.edits += 1
        return Document(id_, f"text {self.edits % 7}", {"edit": self.edits, "lang": "en"})

    @property
    def live(self) -> Side:
        migration = self.world.migration()
        try:
            return "new" if migration.cutover.is_live() else "old"
        finally:
            migration.close()

    @contextmanager
    def opened(
        self,
        data: st.DataObject | None = None,
        *,
        during: list[tuple[str, str, bool]] | None = None,
        kill: bool = False,
        calls: tuple[str, ...] = CALLS,
    ) -> Iterator[Migration]:
        """Open the migration for one command.

        Args:
            data: Draws where applications write and where the command is killed.
            during: What applications write in the middle.
            kill: Whether the command is killed.
            calls: Steps that may be met.
        """
        migration = self.world.migration()
        with ExitStack() as patches:
            if data is not None and (during or kill):
                where = data.draw(st.sampled_from(calls), label="where")
                if where == "target.delete":
                    # An application's deletion in the moment of our own can't be told from it.
                    during = [each for each in during or [] if each[1] != "delete"]
                number = data.draw(st.integers(1, 2), label="call")
                after = data.draw(st.booleans(), label="after")
                part, _, method = where.partition(".")

                def event() -> None:
                    if not (after and calls is CLEANING):
                        self.applications(during or [])
                    if kill:
                        raise Killed

                met = patch.object(
                    getattr(migration, part),
                    method,
                    _met(getattr(getattr(migration, part), method), number, after, event),
                )
                patches.enter_context(met)
                if kill:
                    # Between the database and our own files, too.
                    at = data.draw(st.integers(1, 6), label="note")
                    noted = _met(Snapshot.put, at, after, _kill)
                    patches.enter_context(patch.object(Snapshot, "put", noted))
            NEW.during = None
            if during and data is not None and data.draw(st.booleans(), label="embedding"):
                NEW.during = lambda: self.applications(during)
            try:
                with self.job.locked():
                    yield migration
            except Killed:
                pass
            finally:
                NEW.during = None
                migration.close()


def _kill() -> None:
    raise Killed


def _met(call: Any, number: int, after: bool, event: Callable[[], None]) -> Any:
    """Return a function that runs an event before or after its n-th call."""
    count = 0

    def met(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and not after:
            event()
        answer = call(*arguments, **options)
        if count == number and after:
            event()
        return answer

    return met


class AliasMachine(_Machine):
    """Two collections behind an alias."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[str, dict[str, Document | None]] = {"old": {}, "new": {}}
        """Last write on each side that the other side does not have; None is a deletion."""
        self.copied: set[str] = set()
        """Ids that the new side had as copies before applications wrote them there."""
        self.synced: set[str] = set()
        """Ids of the old side whose documents have been copied."""
        self.old: dict[str, Document] = {}
        """What the old side must hold: no command writes to it."""
        self.history: dict[str, list[Document]] = {}
        """Everything that applications ever wrote."""
        self.doubtful: set[str] = set()
        """Ids that a killed command may have copied without noting it: what an application wrote to
        the new side after that counts as a conflict, since nobody knows whether it saw the copy."""

    @contextmanager
    def opened(self, *arguments: Any, **options: Any) -> Iterator[Migration]:
        """Open the migration for one command, and remember what a killed one may have copied."""
        behind = set(self.pending["old"])
        with super().opened(*arguments, **options) as migration:
            yield migration
        if options.get("kill"):
            self.doubtful |= behind | set(self.pending["old"])

    @initialize(chosen=st.lists(st.sampled_from(IDS), unique=True, min_size=3))
    def fill(self, chosen: list[str]) -> None:
        for id_ in chosen:
            self.act("old", id_, "write")

    @rule(writes=_writes)
    def write(self, writes: list[tuple[str, str, bool]]) -> None:
        if not self.over:
            self.applications(writes)

    @rule(data=st.data(), during=_writes, kill=st.booleans(), whole=st.booleans())
    @precondition(lambda self: not self.over)
    def run(self, data: st.DataObject, during: list[Any], kill: bool, whole: bool) -> None:
        if self.job.state().phase in {"switching", "switched"}:
            return
        before = self.contents()
        options = PassOptions() if whole else PassOptions(1, stopped=lambda: True)
        state = None
        with self.opened(data, during=during, kill=kill) as migration:
            state = run(self.job, migration, NEW, options)
        settled = state is not None and state.phase == "settled" and not during
        self.compare(before, settled=settled)

    @rule(data=st.data(), during=_writes)
    @precondition(lambda self: not self.over)
    def verify(self, data: st.DataObject, during: list[Any]) -> None:
        """No write of an application is a fault, and neither is one in the middle."""
        state = self.job.state()
        if state.phase in {"switching", "switched"} or not state.passes:
            return
        before = self.contents()
        with self.opened(data, during=during) as migration:
            found = check(self.job, migration, NEW, FEW).verification
            assert not found.missing
            assert not found.wrong
        self.compare(before)

    @rule(data=st.data(), during=_writes, kill=st.booleans(), force=st.booleans())
    @precondition(lambda self: not self.over)
    def switch(self, data: st.DataObject, during: list[Any], kill: bool, force: bool) -> None:
        if not self.job.state().passes:
            return
        before, live, done = self.contents(), self.live, None
        if force and live == "old":
            # What is written to a document while it is replaced can't be told from what was there.
            during = []
        conflicts = set(self.pending["new"]) & self.differing("old")
        possible = conflicts | (self.doubtful & self.differing("new"))
        removed = None in self.pending["new"].values()
        with self.opened(data, during=during, kill=kill) as migration:
            try:
                done = cut_over(self.job, migration, NEW, FEW, force=force)
                assert during or force or live == "new" or not conflicts
            except QualityGateError:
                assert not force
                assert self.live == "old"
                assert during or possible or removed or len(before["old"]) < 2
        settled = done is not None and not during
        self.compare(before, told=force and live == "old", settled=settled)
        if done is not None:
            assert self.live == "new"

    @rule(data=st.data(), during=_writes, kill=st.booleans())
    @precondition(lambda self: not self.over)
    def go_back(self, data: st.DataObject, during: list[Any], kill: bool) -> None:
        if self.live == "old":
            return
        before = self.contents()
        with self.opened(data, during=during, kill=kill) as migration:
            said = rollback(self.job, migration)
            if not during:
                assert said.left_behind == len(self.differing("new"))
        self.compare(before)

    @rule(data=st.data(), during=_writes, kill=st.booleans(), force=st.booleans())
    @precondition(lambda self: not self.over and self.job.state().passes)
    def clean(self, data: st.DataObject, during: list[Any], kill: bool, force: bool) -> None:
        """Where the database can hold writes, none gets between the count and the deletion."""
        before, live = self.contents(), self.live
        doomed: Side = "new" if live == "old" else "old"
        held = doomed in self.world.holds and not force
        during = [(id_, act, doomed == "old") for id_, act, _ in during if held]
        acknowledged = dict(self.pending[doomed])
        lost = self.differing(doomed)
        possible = lost | (self.doubtful & self.differing(live))
        with self.opened(data, during=during, kill=kill, calls=CLEANING) as migration:
            try:
                clean(self.job, migration, force=force)
                assert force or not lost
                self.over = True
            except ReindexError as error:
                assert possible, error
                assert not force
        if self.job.state().phase == "cleaning":
            with self.opened() as migration:
                clean(self.job, migration, force=force)
            self.over = True
        assert self.pending[doomed] == acknowledged
        found = self.contents()
        assert found[live] == before[live]
        if self.over:
            self.vectors_are_right(live)
        else:
            assert found[doomed] == before[doomed]

    def finish(self) -> None:
        if not self.job.state().passes:
            with self.opened() as migration:
                run(self.job, migration, NEW)
        before, live = self.contents(), self.live
        with self.opened() as migration:
            cut_over(self.job, migration, NEW, FEW, force=True)
        self.compare(before, told=live == "old", settled=True)
        assert self.live == "new"

    def applications(self, writes: list[tuple[str, str, bool]]) -> None:
        for id_, act, old in writes:
            self.act("old" if old else "new", id_, act)

    def act(self, side: Side, id_: str, act: str) -> None:
        """Write to a side as an application, and remember it if it was acknowledged."""
        if side == "new" and not self.job.state().passes:
            return
        try:
            found = self.contents()
        except StoreError:
            # A command holds one of them.
            return
        now = found[side].get(id_)
        gone = id_ not in found["old"] and id_ not in found["new"]
        if gone and self.pending["new"].get(id_, ...) is None:
            # Both sides lost it, and whether a command has seen that decides what follows.
            return
        try:
            if act == "delete":
                # A deletion of what is not there leaves no trace in these databases.
                if now is None:
                    return
                self.world.delete(id_, side)
                document = None
            elif act == "again":
                if now is None:
                    return
                self.world.write(now, _MODELS[side].vector(now.text), side)
                if side == "old":
                    return
                document = now
            else:
                document = self.new_document(id_)
                self.world.write(document, _MODELS[side].vector(document.text), side)
                self.history.setdefault(id_, []).append(document)
        except StoreError:
            return
        pending = self.pending[side]
        if id_ in found["new"] and id_ not in self.pending["new"]:
            # A copy, whose source was noted.
            self.synced.add(id_)
        if side == "old":
            self.old.pop(id_, None)
            if document is not None:
                self.old[id_] = document
            copied = id_ in self.synced
        else:
            if id_ not in pending:
                (self.copied.add if now is not None else self.copied.discard)(id_)
            copied = id_ in self.copied
        if document is None and not copied:
            # The other side never had it.
            pending.pop(id_, None)
        else:
            pending[id_] = document

    def side(self, side: Side) -> dict[str, Document]:
        return {id_: document for id_, (document, _) in self.world.everything(side).items()}

    def contents(self) -> dict[str, dict[str, Document]]:
        return {"old": self.side("old"), "new": self.side("new")}

    def differing(self, side: str) -> set[str]:
        """Return ids that applications wrote to a side, and that the other side has otherwise."""
        found = self.contents()
        other = "old" if side == "new" else "new"
        return {id_ for id_ in self.pending[side] if found[side].get(id_) != found[other].get(id_)}

    def compare(
        self,
        before: dict[str, dict[str, Document]],
        *,
        told: bool = False,
        settled: bool = False,
    ) -> None:
        """Check that a command lost nothing and undid nothing.

        Args:
            before: Contents before the command.
            told: Whether it was told to replace the new side where both changed.
            settled: Whether it claims that the new side has everything.
        """
        found = self.contents()
        assert found["old"] == self.old
        old, new = self.pending["old"], self.pending["new"]
        for id_ in IDS:
            here, there = found["old"].get(id_), found["new"].get(id_)
            replaced = told and (id_ in old or (id_ in self.doubtful and here == there))
            if id_ in new and not replaced:
                assert there == new[id_], f"{id_}: {there} stands for {new[id_]}; {here} {old}"
            elif there is not None and there != before["new"].get(id_):
                assert there in self.history.get(id_, ()), id_
            if here == there:
                if replaced:
                    # Replaced; a write that only repeated the copy is the application's still.
                    new.pop(id_, None)
                if settled:
                    self.doubtful.discard(id_)
                if here is not None:
                    old.pop(id_, None)
                    self.synced.add(id_)
                elif settled or (before["new"].get(id_) is not None and id_ not in new):
                    # Neither side has it, and the command saw that, or even deleted the copy.
                    old.pop(id_, None)
                    new.pop(id_, None)
                    self.synced.discard(id_)
            elif id_ not in new:
                assert not settled, f"{id_}: {here} is not on the new side, which has {there}"
                # Read before it was changed, and copied after that.
                old.setdefault(id_, here)
        for side in ("old", "new"):
            self.vectors_are_right(side)

    def vectors_are_right(self, side: Any) -> None:
        for id_, (document, vector) in self.world.everything(side).items():
            assert vector is not None, id_
            expected = _MODELS[side].vector(document.text)
            np.testing.assert_allclose(vector, expected, atol=1e-5, err_msg=id_)


class InPlaceMachine(_Machine):
    """One collection, two vectors: whoever writes a document removes the other side's vector."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, Document] = {}

    @initialize(chosen=st.lists(st.sampled_from(IDS), unique=True, min_size=3))
    def fill(self, chosen: list[str]) -> None:
        self.applications([(id_, "write", True) for id_ in chosen])

    @rule(writes=_writes)
    def write(self, writes: list[tuple[str, str, bool]]) -> None:
        if not self.over:
            self.applications(writes)

    @rule(data=st.data(), during=_writes, kill=st.booleans(), whole=st.booleans())
    @precondition(lambda self: not self.over)
    def run(self, data: st.DataObject, during: list[Any], kill: bool, whole: bool) -> None:
        options = PassOptions() if whole else PassOptions(1, stopped=lambda: True)
        state = None
        with self.opened(data, during=during, kill=kill) as migration:
            state = run(self.job, migration, NEW, options)
        if state is not None and whole and not during:
            assert self.lacking("new") == set()
        self.compare()

    @rule(data=st.data(), during=_writes)
    @precondition(lambda self: not self.over and self.job.state().passes)
    def verify(self, data: st.DataObject, during: list[Any]) -> None:
        with self.opened(data, during=during) as migration:
            found = check(self.job, migration, NEW, FEW).verification
            assert not found.wrong
            if not during:
                assert found.problems == []
        self.compare()

    @rule(data=st.data(), during=_writes, kill=st.booleans())
    @precondition(lambda self: not self.over and self.job.state().passes)
    def switch(self, data: st.DataObject, during: list[Any], kill: bool) -> None:
        done = None
        with self.opened(data, during=during, kill=kill) as migration:
            done = cut_over(self.job, migration, NEW, FEW, force=True)
        if done is not None:
            assert self.live == "new"
            assert during or self.lacking("new") == set()
        self.compare()

    @rule(data=st.data(), kill=st.booleans(), way=st.sampled_from(["plain", "force", "model"]))
    @precondition(lambda self: not self.over)
    def go_back(self, data: st.DataObject, kill: bool, way: str) -> None:
        if self.live == "old":
            return
        lacking = self.lacking("old")
        backwards = self.world.migration(backwards=True)  # type: ignore[call-arg]
        fill = (lambda: fill_vectors(backwards, OLD, 4)) if way == "model" else None
        try:
            with self.opened(data, kill=kill) as migration:
                try:
                    said = rollback(self.job, migration, force=way == "force", fill=fill)
                    assert way != "plain" or not lacking
                    assert said.lacking == (0 if way == "model" else len(lacking))
                except ReindexError:
                    assert lacking
                    assert way == "plain"
                    assert self.live == "new"
        finally:
            backwards.close()
        self.compare()

    @rule(data=st.data(), kill=st.booleans(), force=st.booleans())
    @precondition(lambda self: not self.over and self.job.state().passes)
    def clean(self, data: st.DataObject, kill: bool, force: bool) -> None:
        lacking = self.lacking(self.live)
        with self.opened(data, kill=kill, calls=CLEANING) as migration:
            try:
                clean(self.job, migration, force=force)
                assert force or not lacking
                self.over = True
            except ReindexError as error:
                assert lacking, error
                assert not force
        if self.job.state().phase == "cleaning":
            self.over = True
        assert self.lacking(self.live) == lacking
        self.compare()

    def finish(self) -> None:
        with self.opened() as migration:
            run(self.job, migration, NEW)
        with self.opened() as migration:
            cut_over(self.job, migration, NEW, FEW, force=True)
        assert self.lacking("new") == set()
        self.compare()

    def applications(self, writes: list[tuple[str, str, bool]]) -> None:
        for id_, act, old in writes:
            side: Side = "old" if old else "new"
            if side == "new" and not self.job.state().passes:
                continue
            if act == "delete":
                if id_ in self.documents:
                    self.world.delete(id_, side)
                    del self.documents[id_]
                continue
            document = self.documents.get(id_) if act == "again" else self.new_document(id_)
            if document is not None:
                self.world.write(document, _MODELS[side].vector(document.text), side)
                self.documents[id_] = document

    def lacking(self, side: Side) -> set[str]:
        """Return ids of documents without a side's vector."""
        return {id_ for id_, (_, vector) in self.world.everything(side).items() if vector is None}

    def compare(self) -> None:
        """Check that no document changed, and that every vector is that of its text."""
        for side, model in _MODELS.items():
            found = self.world.everything(side)  # type: ignore[arg-type]
            assert {id_: document for id_, (document, _) in found.items()} == self.documents
            for id_, (document, vector) in found.items():
                if vector is not None:
                    expected = model.vector(document.text)
                    np.testing.assert_allclose(vector, expected, atol=1e-5, err_msg=id_)
