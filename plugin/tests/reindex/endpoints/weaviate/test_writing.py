from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import FlakyCollection

from lusifer.errors import LusiferError, StoreUnavailableError

pytest.importorskip("weaviate")
from weaviate.classes.data import DataObject

from lusifer.reindex.endpoints.weaviate.writing import insert_objects

KEYS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(3)]


@pytest.fixture
def objects() -> list[Any]:
    return [
        DataObject(properties={"n": number}, uuid=key, references={"sees": [key]})
        for number, key in enumerate(KEYS)
    ]


def write(collection: Any, objects: list[Any]) -> None:
    insert_objects(collection, objects, lambda request: request())


def test_objects_are_written_with_their_references(objects: list[Any]) -> None:
    collection = FlakyCollection()
    write(collection, objects)
    assert set(collection.objects) == set(KEYS)
    assert collection.calls == 1
    assert all(each.references for each in objects)


def test_an_object_whose_reference_is_not_there_yet_is_written_without(objects: list[Any]) -> None:
    collection = FlakyCollection()
    collection.script = [(3, "invalid cref: no such object")]
    write(collection, objects)
    assert collection.calls == 2
    assert [bool(each.references) for each in objects] == [False, True, True]


def test_an_object_that_is_refused_without_references_too_ends_the_write(
    objects: list[Any],
) -> None:
    collection = FlakyCollection()
    collection.script = [(3, "invalid cref"), (1, "invalid cref")]
    with pytest.raises(StoreUnavailableError, match="refused 1 objects of A even without"):
        write(collection, objects)


def test_another_refusal_is_raised(objects: list[Any]) -> None:
    collection = FlakyCollection()
    collection.script = [(3, "vector dimensions differ")]
    with pytest.raises(LusiferError, match="vector dimensions differ"):
        write(collection, objects)


def test_an_object_without_index_is_deleted_and_written_again(
    objects: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lusifer.weaviate.repair.time", SimpleNamespace(sleep=lambda seconds: None))
    collection = FlakyCollection()
    collection.unindexed = {KEYS[1]}
    write(collection, objects)
    assert collection.calls == 2
    assert (set(collection.objects), collection.unindexed) == (set(KEYS), set())
