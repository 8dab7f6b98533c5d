"""A database as applications use it, and an application that writes at a given moment."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from plugin.tests.reindex.support import NEW, OLD, make_plan

from lusifer.reindex.checks import CheckOptions
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.job import Job
from lusifer.reindex.quality_gate import GateOptions
from lusifer.reindex.runner import run
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.reindex.endpoints.base import Migration

IDS = [f"doc/{index}" for index in range(12)]
Side: TypeAlias = Literal["live", "old", "new"]
FEW = CheckOptions(samples=4, gate=GateOptions(per_language=1))


class Killed(BaseException):
    """The process ends here."""


class World(Protocol):
    """A database with one live collection, as applications use it.

    A side is the old collection or the new one by its own name; in place it is a vector.
    """

    in_place: bool
    holds: tuple[Side, ...]
    """Sides that nobody can write to while ``clean`` counts and deletes them."""

    def migration(self) -> Migration:
        """Open source and target as a fresh process would."""
        ...

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        """Write as an application, to what applications see or to a side.

        Raises:
            StoreError: The database refuses writes at the moment.
        """
        ...

    def delete(self, document_id: str, side: Side = "live") -> None:
        """Delete as an application; raises as :meth:`write`."""
        ...

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        """Return what a side has; nothing where it is not there."""
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
