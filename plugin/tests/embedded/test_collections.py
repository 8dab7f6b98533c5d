from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qdrant_edge")

from plugin.tests.store_contract import documents, unit

from lusifer.embedded.collections import EmbeddedCollections
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import (
    IndexCorruptError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidInputError,
    StoreError,
)

if TYPE_CHECKING:
    from pathlib import Path


def fill(
    collections: EmbeddedCollections, name: str, count: int = 3, fingerprint: str = "a"
) -> None:
    with collections.create(name, fingerprint=fingerprint, dimension=16, model="tiny") as store:
        store.upsert(documents(count), unit(count))


@pytest.fixture
def collections(tmp_path: Path) -> EmbeddedCollections:
    """Return two collections, of 3 and of 5 documents; the alias ``live`` points to the first."""
    made = EmbeddedCollections(tmp_path / "database")
    fill(made, "v1")
    fill(made, "v2", 5, "b")
    made.set_alias("live", "v1")
    return made


def test_an_empty_database(tmp_path: Path) -> None:
    empty = EmbeddedCollections(tmp_path / "nowhere")
    assert (empty.names(), empty.aliases()) == ([], {})
    with pytest.raises(IndexNotFoundError, match="no collection 'v1'; it has none"):
        empty.open("v1")
    assert not (tmp_path / "nowhere").exists()


def test_names_and_aliases_open_the_same(collections: EmbeddedCollections) -> None:
    assert (collections.names(), collections.aliases()) == (["v1", "v2"], {"live": "v1"})
    for name in ("v1", "live"):
        assert collections.resolve(name) == "v1"
        with collections.open(name, "a") as store:
            assert store.count() == 3


def test_an_alias_is_switched_and_an_open_store_stays(collections: EmbeddedCollections) -> None:
    with collections.open("live") as before:
        collections.set_alias("live", "v2")
        with collections.open("live") as after:
            assert (before.count(), after.count()) == (3, 5)
    assert EmbeddedCollections(collections.root).resolve("live") == "v2", (
        "other processes see it too"
    )


def test_aliases_that_are_refused(collections: EmbeddedCollections) -> None:
    with pytest.raises(IndexNotFoundError, match="'v3'; it has v1, v2"):
        collections.set_alias("live", "v3")
    with pytest.raises(StoreError, match="A collection is named 'v2'"):
        collections.set_alias("v2", "v1")
    with pytest.raises(StoreError, match="'live' is an alias"):
        collections.create("live", fingerprint="a", dimension=16, model="tiny")
    with pytest.raises(IndexNotFoundError):
        collections.delete_alias("other")
    assert collections.aliases() == {"live": "v1"}


def test_a_collection_in_use_is_not_deleted(
    collections: EmbeddedCollections,
) -> None:
    with pytest.raises(StoreError, match="alias 'live' already points to 'v1'"):
        collections.delete("v1")
    with collections.open("v2"), pytest.raises(IndexLockedError):
        collections.delete("v2")
    assert collections.names() == ["v1", "v2"]
    collections.delete_alias("live")
    collections.delete("v1")
    assert (collections.names(), collections.aliases()) == (["v2"], {})
    with pytest.raises(IndexNotFoundError):
        collections.delete("v1")


def test_a_killed_deletion_leaves_no_collection(
    collections: EmbeddedCollections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("lusifer.embedded.collections.shutil.rmtree", lambda *_, **__: None)
        collections.delete("v2")
    folder = collections.root / "collections"
    assert (collections.names(), len(list(folder.iterdir()))) == (["v1"], 2)
    fill(collections, "v2", 4)
    assert (collections.names(), len(list(folder.iterdir()))) == (["v1", "v2"], 2)
    with collections.open("v2") as store:
        assert store.count() == 4


def test_a_collection_takes_the_place_of_the_folders_own_index(tmp_path: Path) -> None:
    collections = EmbeddedCollections(tmp_path / "database")
    assert collections.path("") == collections.root
    with pytest.raises(IndexNotFoundError, match="No index at"):
        collections.open("")
    with pytest.raises(InvalidInputError, match="can't be the name"):
        collections.create("", fingerprint="b", dimension=16, model="tiny")
    fields = {"fingerprint": "a", "dimension": 16, "model": "tiny"}
    with EmbeddedStore.create(collections.root, **fields) as own:
        own.upsert(documents(3), unit(3))
        fill(collections, "v2", 5, "b")
        # An application that has the folder's index open doesn't keep others from switching.
        collections.set_alias("", "v2")
        assert own.count() == 3
    with collections.open("", "b") as store:
        assert store.count() == 5
    assert collections.path("") == collections.folder("v2")
    collections.set_alias("", "")
    with collections.open("", "a") as store:
        assert store.count() == 3
    collections.set_alias("", "v2")
    collections.delete("")
    assert not collections.exists("")
    assert sorted(path.name for path in collections.root.iterdir() if path.suffix != ".lock") == [
        "aliases.json",
        "collections",
    ]
    with collections.open("", "b") as store:
        assert store.count() == 5


@pytest.mark.parametrize("name", [".", "..", "../v1", "a/b", "-x", ".x", "x" * 201, "a b", "a\x00"])
def test_names_that_would_leave_the_folder(collections: EmbeddedCollections, name: str) -> None:
    calls: list[Any] = [
        collections.path,
        collections.open,
        lambda bad: collections.set_alias(bad, "v1"),
        lambda bad: collections.create(bad, fingerprint="a", dimension=16, model="tiny"),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="can't be the name"):
            call(name)


def test_damaged_aliases_are_reported(collections: EmbeddedCollections) -> None:
    (collections.root / "aliases.json").write_text("{")
    with pytest.raises(IndexCorruptError, match=r"aliases\.json can't be read"):
        collections.open("live")


def test_concurrent_switches_are_all_kept(collections: EmbeddedCollections) -> None:
    def switch(number: int) -> None:
        while True:
            try:
                collections.set_alias(f"alias-{number}", "v1")
            except IndexLockedError:  # another thread is switching
                continue
            return

    threads = [threading.Thread(target=switch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(collections.aliases()) == 9
    assert len(json.loads((collections.root / "aliases.json").read_bytes())) == 9
