from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import WRITTEN, FakeRest

from lusifer.errors import LusiferError, StoreUnavailableError

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.objects import ObjectContent, new_object
from lusifer.reindex.endpoints.weaviate.writing import insert_objects

KEYS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(3)]
OBJECTS = [
    new_object("A", f"t/{key}", ObjectContent({"n": 1}, {}, {"sees": [f"./{key}"]}), {})
    for key in KEYS
]
BARE = [new_object("A", f"t/{key}", ObjectContent({"n": 1}, {}, {}), {}) for key in KEYS]


class Filter:
    """Finds stored objects but those that a crash left without index."""

    def __init__(self, unindexed: set[str]) -> None:
        self.unindexed = unindexed
        self.query = self.data = self

    def fetch_objects_by_ids(self, keys: list[str], **_: Any) -> Any:
        found = [SimpleNamespace(uuid=key) for key in keys if key not in self.unindexed]
        return SimpleNamespace(objects=found)

    def exists(self, key: str) -> bool:
        return True

    def delete_by_id(self, key: str) -> None:
        self.unindexed.discard(key)


def write(
    answers: list[Any], unindexed: set[str] | None = None, now: Any = ()
) -> tuple[list[tuple[str, str, Any]], dict[str, Any]]:
    """Insert three objects; return what was sent, and what is said to be stored.

    Args:
        answers: Answers to the requests.
        unindexed: UUIDs of objects that no filter finds.
        now: Objects that are there when they are read again.
    """
    rest: Any = FakeRest({"t": list(now)})
    rest.answers = answers
    handle: Any = Filter(unindexed or set())
    stored = insert_objects(rest, handle, OBJECTS, lambda request: request())
    return list(rest.sent), dict(stored)


def failed(message: str) -> Any:
    return {"result": {"status": "FAILED", "errors": {"error": [{"message": message}]}}}


FINE: Any = {"result": {"status": "SUCCESS"}}


def test_objects_are_written_with_their_references() -> None:
    sent, stored = write([])
    assert sent == [("POST", "/batch/objects", {"objects": OBJECTS})]
    assert {key: each["properties"] for key, each in stored.items()} == {
        each["id"]: each["properties"] for each in OBJECTS
    }
    assert {each["lastUpdateTimeUnix"] for each in stored.values()} == {WRITTEN + 1}


def test_times_that_the_server_indexes_are_no_properties() -> None:
    times = {"n": 1, "_creationTimeUnix": 3, "_lastUpdateTimeUnix": 4}
    _, stored = write([[{**FINE, "properties": times}, FINE, FINE]])
    assert stored[KEYS[0]]["properties"] == {"n": 1}


@pytest.mark.parametrize("answer", ["accepted", "refused"])
def test_a_reference_to_an_object_that_is_not_there_yet_is_added_afterwards(answer: str) -> None:
    """Whether it was accepted then or not: the next pass sees what there is."""
    row = {
        "from": f"weaviate://localhost/A/{KEYS[0]}/sees",
        "to": f"weaviate://localhost/A/{KEYS[0]}",
        "tenant": "t",
    }
    result = FINE if answer == "accepted" else failed("target: object A/1 not found for tenant t")
    first = [failed("invalid cref: no such object"), FINE, FINE]
    linked = {**OBJECTS[0], "lastUpdateTimeUnix": WRITTEN + 9}
    sent, stored = write([first, [FINE], [result]], now=[linked])
    assert sent[1:] == [
        ("POST", "/batch/objects", {"objects": BARE[:1]}),
        ("POST", "/batch/references", [row]),
    ]
    assert stored[KEYS[0]] == linked


@pytest.mark.parametrize("now", [[], [{**OBJECTS[0], "properties": {"n": "an application's"}}]])
def test_what_an_application_wrote_meanwhile_is_not_taken_for_ours(now: list[Any]) -> None:
    _, stored = write([[failed("invalid cref"), FINE, FINE], [FINE], [FINE]], now=now)
    assert stored[KEYS[0]]["properties"] == {"n": 1}
    assert stored[KEYS[0]]["lastUpdateTimeUnix"] == WRITTEN + 1


def test_an_object_that_is_refused_without_references_too_ends_the_write() -> None:
    with pytest.raises(StoreUnavailableError, match="refused 1 objects of A even without"):
        write([[failed("invalid cref"), FINE, FINE], [failed("invalid cref")]])


def test_another_refusal_is_raised() -> None:
    with pytest.raises(LusiferError, match="vector dimensions differ"):
        write([[FINE, FINE, failed("vector dimensions differ")]])


def test_an_object_without_index_is_deleted_and_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lusifer.weaviate.repair.time", SimpleNamespace(sleep=lambda seconds: None))
    unindexed = {KEYS[1]}
    sent, stored = write([], unindexed)
    assert sent[1:] == [("POST", "/batch/objects", {"objects": OBJECTS[1:2]})]
    assert unindexed == set()
    assert set(stored) == set(KEYS)
