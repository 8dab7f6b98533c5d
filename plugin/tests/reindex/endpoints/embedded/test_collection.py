"""The embedded store under applications that write meanwhile, and what its endpoint reads at once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.reindex.support import DIMENSION, NEW, OLD, make_plan
from plugin.tests.reindex_machine import AliasMachine, machine_settings, torture
from plugin.tests.reindex_world import FEW

pytest.importorskip("qdrant_edge")
from lusifer.embedded.collections import EmbeddedCollections
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import IndexLockedError
from lusifer.reindex.cleaning import clean
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.endpoints.base import ALL_KEYS, Migration
from lusifer.reindex.endpoints.embedded.alias import EmbeddedAliasCutover
from lusifer.reindex.endpoints.embedded.collection import EmbeddedEndpoint
from lusifer.reindex.job import Job
from lusifer.reindex.rollback import rollback
from lusifer.reindex.runner import run
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock
    from numpy.typing import NDArray
    from plugin.tests.reindex_world import Side, World


_NAMES = {"live": "live", "old": "v1", "new": "v2"}


class EmbeddedWorld:
    in_place = False
    holds = ("old", "new")

    def __init__(self, folder: Path) -> None:
        self.collections = EmbeddedCollections(folder / "database")
        self.collections.create(
            "v1", fingerprint=OLD.fingerprint, dimension=DIMENSION, model="old"
        ).close()
        self.collections.set_alias("live", "v1")

    def migration(self) -> Migration:
        old, new = (EmbeddedEndpoint(self.collections, name) for name in ("v1", "v2"))
        cutover = EmbeddedAliasCutover(
            self.collections, alias="live", source="v1", target="v2", model=make_plan().model,
            endpoints=(old, new),
        )  # fmt: skip
        return Migration(
            old, new, cutover,
            write_freeze=old.frozen, source_hold=old.frozen, target_hold=new.frozen,
        )  # fmt: skip

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        with self.collections.open(_NAMES[side]) as store:
            store.upsert([document], vector[None])

    def delete(self, document_id: str, side: Side = "live") -> None:
        with self.collections.open(_NAMES[side]) as store:
            store.delete([document_id])

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        if _NAMES[side] not in {*self.collections.names(), "live"}:
            return {}
        with self.collections.open(_NAMES[side]) as store:
            payloads, _ = store.read(None, 1000)
            vectors = store.retrieve(list(payloads), fields=False, vectors=True)
        return {
            payload["id"]: (
                Document(payload["id"], payload["text"], payload["metadata"]),
                vectors[key][1],
            )
            for key, payload in payloads.items()
        }

    def close(self) -> None:
        pass


class EmbeddedMachine(AliasMachine):
    """While a command holds a collection, nobody else can open it."""

    @staticmethod
    def make_world(folder: Path) -> World:
        return EmbeddedWorld(folder)


TestEmbeddedMachine = EmbeddedMachine.TestCase
TestEmbeddedMachine.settings = machine_settings(10, 12)


@pytest.mark.torture
def test_torture() -> None:
    torture(EmbeddedMachine)


@pytest.fixture
def world(tmp_path: Path) -> EmbeddedWorld:
    made = EmbeddedWorld(tmp_path)
    documents = [Document(f"d{number}", f"text {number}", {"lang": "en"}) for number in range(50)]
    with made.collections.open("live") as store:
        store.upsert(documents, np.stack([OLD.vector(each.text) for each in documents]))
    return made


def test_eight_pages_are_read_at_one_opening(
    world: EmbeddedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = EmbeddedEndpoint(world.collections, "v1")
    opened: list[Path] = []
    open_store = EmbeddedStore.open

    def counted(folder: Path) -> EmbeddedStore:
        opened.append(folder)
        return open_store(folder)

    monkeypatch.setattr(EmbeddedStore, "open", staticmethod(counted))
    keys: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        page = endpoint.read(ALL_KEYS, cursor, 4)
        keys += [record.key for record in page.records]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            break
    assert (pages, len(keys), len(opened)) == (13, 50, 2)
    assert keys == sorted(set(keys))


def test_ranges_do_not_overlap(world: EmbeddedWorld) -> None:
    endpoint = EmbeddedEndpoint(world.collections, "v1")
    found: list[str] = []
    for key_range in endpoint.key_ranges(3):
        cursor: str | None = None
        while True:
            page = endpoint.read(key_range, cursor, 2)
            assert all(record.key in key_range for record in page.records)
            found += [record.key for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
    assert len(found) == len(set(found)) == 50


def test_another_process_that_has_the_collection_open_is_waited_for(
    world: EmbeddedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    held = world.collections.open("v1")
    with pytest.raises(IndexLockedError):
        EmbeddedEndpoint(world.collections, "v1", retry_for_s=0).count()
    timer = threading.Timer(0.2, held.close)
    timer.start()
    assert EmbeddedEndpoint(world.collections, "v1", retry_for_s=30).count() == 50
    timer.join()
    # An application at work is no reason for a warning each tenth of a second.
    assert [record for record in caplog.records if "Trying again" in record.message] == []


def test_a_frozen_collection_keeps_writers_out(world: EmbeddedWorld) -> None:
    endpoint = EmbeddedEndpoint(world.collections, "v1")
    with endpoint.frozen():
        assert endpoint.count() == 50
        with pytest.raises(IndexLockedError):
            world.collections.open("v1")
    world.collections.open("v1").close()


@pytest.mark.parametrize("back", [False, True])
def test_nobody_writes_while_clean_counts_and_deletes(
    world: EmbeddedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    job, migration = Job.create(tmp_path / "job", make_plan()), world.migration()
    side: Side = "new" if back else "old"
    delete = world.collections.delete

    def deleted(name: str, held: FileLock | None = None) -> None:
        with pytest.raises(IndexLockedError):
            world.delete("d1", side)
        delete(name, held)

    monkeypatch.setattr(world.collections, "delete", deleted)
    with job.locked():
        run(job, migration, NEW)
        cut_over(job, migration, NEW, FEW, force=True)
        if back:
            rollback(job, migration)
        assert clean(job, migration) == f"the collection {_NAMES[side]}"
    assert world.collections.names() == ["v1" if back else "v2"]
