"""The endpoint on the client's local mode; guarded writes are recorded, which that mode does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, Record

pytest.importorskip("qdrant_client")
from qdrant_client import QdrantClient, models

from lusifer.reindex.endpoints.qdrant import points
from lusifer.reindex.endpoints.qdrant.collection import QdrantEndpoint
from lusifer.reindex.endpoints.qdrant.named_vector import QdrantNamedVectorTarget
from lusifer.stores.fields import FieldRules

UUIDS = [f"{digit}0000000-0000-0000-0000-000000000000" for digit in "48c"]
NUMBERS = [1, 5, 9]
KEYS = [f"#{number:020d}" for number in NUMBERS] + UUIDS


@pytest.fixture
def client() -> QdrantClient:
    """Write six points: three numbers, three UUIDs; the last of each has no new vector."""
    made = QdrantClient(":memory:")
    size = models.VectorParams(size=2, distance=models.Distance.COSINE)
    made.create_collection("a", vectors_config={"old": size, "new": size})
    rows = []
    for place, point_id in enumerate([*NUMBERS, *UUIDS]):
        vector: dict[str, Any] = {"old": [1.0, place / 10]}
        if place % 3 != 2:
            vector["new"] = [0.0, 1.0]
        payload = {"body": f"text {place}", "lang": "de"}
        rows.append(models.PointStruct(id=point_id, vector=vector, payload=payload))
    made.upsert("a", rows)
    return made


def endpoint(client: QdrantClient, vector_name: str = "old", **options: Any) -> QdrantEndpoint:
    return QdrantEndpoint(client, "a", vector_name, rules=FieldRules("body"), **options)


def test_points_are_counted(client: QdrantClient) -> None:
    old, new = endpoint(client), endpoint(client, "new")
    assert (old.count(), old.count_without_vector(), new.count_without_vector()) == (6, 0, 2)


def test_pages_are_in_the_order_of_keys_numbers_first(client: QdrantClient) -> None:
    page = endpoint(client, copied_vectors=["new"]).read(ALL_KEYS, None, 4)
    assert [record.key for record in page.records] == KEYS[:4]
    assert page.cursor == KEYS[4]
    assert page.records[0].text == "text 0"
    assert isinstance(page.records[0].content, points.PointContent)
    assert page.records[0].content.vectors == {"new": [0.0, 1.0]}
    rest = endpoint(client).read(ALL_KEYS, page.cursor, 4)
    assert ([record.key for record in rest.records], rest.cursor) == (KEYS[4:], None)


def test_a_page_ends_with_its_range(client: QdrantClient) -> None:
    page = endpoint(client).read(KeyRange(KEYS[1], KEYS[3]), None, 2)
    assert ([record.key for record in page.records], page.cursor) == (KEYS[1:3], None)
    page = endpoint(client).read(KeyRange(KEYS[1], KEYS[3]), None, 9)
    assert [record.key for record in page.records] == KEYS[1:3]


def test_in_place_the_source_has_only_points_without_the_new_vector(client: QdrantClient) -> None:
    page = endpoint(client, only_lacking="new").read(ALL_KEYS, None, 9)
    assert [record.key for record in page.records] == [KEYS[2], KEYS[5]]


def test_numbers_and_uuids_get_ranges_of_their_own(client: QdrantClient) -> None:
    assert endpoint(client).key_ranges(4) == [
        KeyRange("", f"#{5:020d}"),
        KeyRange(f"#{5:020d}", "00000000-0000-0000-0000-000000000000"),
        KeyRange("00000000-0000-0000-0000-000000000000", UUIDS[1]),
        KeyRange(UUIDS[1], ""),
    ]
    client.delete("a", UUIDS)
    assert endpoint(client).key_ranges(2) == [
        KeyRange("", f"#{5:020d}"),
        KeyRange(f"#{5:020d}", ""),
    ]
    client.delete("a", NUMBERS)
    assert endpoint(client).key_ranges(2) == [KeyRange("", UUIDS[1]), KeyRange(UUIDS[1], "")]


def test_points_are_asked_for_by_key(client: QdrantClient) -> None:
    old, absent = endpoint(client), "f0000000-0000-0000-0000-000000000000"
    assert old.present([KEYS[0], absent]) == {KEYS[0]}
    assert set(old.hashes([*KEYS, absent])) == set(KEYS)
    assert old.versions([KEYS[0], absent]) == {KEYS[0]: ""}
    vectors = endpoint(client, "new").vectors(KEYS)
    assert set(vectors) == {KEYS[0], KEYS[1], KEYS[3], KEYS[4]}
    assert vectors[KEYS[0]].tolist() == [0.0, 1.0]
    assert [record.key for record in old.sample(3, 0)] == sorted(
        record.key for record in old.sample(3, 0)
    )
    assert old.keys(KeyRange("", KEYS[2]), None, 9) == ({KEYS[0]: "", KEYS[1]: ""}, None)


def test_the_nearest_points_come_first(client: QdrantClient) -> None:
    vectors = [np.array([1, 0], np.float32), np.array([1, 0.5], np.float32)]
    found = endpoint(client).nearest(vectors, 2, ["", ""])
    assert [[record.key for record in near] for near in found] == [KEYS[:2], [KEYS[5], KEYS[4]]]


def test_in_place_the_target_has_what_has_the_vector(client: QdrantClient) -> None:
    target = QdrantNamedVectorTarget(client, "a", "new", rules=FieldRules("body"))
    assert set(target.hashes(KEYS)) == {KEYS[0], KEYS[1], KEYS[3], KEYS[4]}
    assert (
        target.versions([KEYS[0]]) == target.hashes([KEYS[0]]) == endpoint(client).hashes([KEYS[0]])
    )


def test_copies_lose_their_marker(client: QdrantClient) -> None:
    client.set_payload("a", {"lusifer_sha256": "x"}, NUMBERS)
    assert endpoint(client).versions(KEYS)[KEYS[0]] == "x@copy"
    endpoint(client).remove_copy_markers()
    assert set(endpoint(client).versions(KEYS).values()) == {""}


class Recorder:
    """Remembers the arguments of writes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []

    def upsert(self, _: str, rows: Any, **options: Any) -> None:
        self.calls.append(("upsert", [row.id for row in rows], options))

    def update_vectors(self, _: str, rows: Any, **options: Any) -> None:
        self.calls.append(("update_vectors", [row.id for row in rows], options))

    def retrieve(self, _: str, ids: Any, **__: Any) -> list[models.Record]:
        """Return the copies; a guard kept the one of KEYS[1] from being written."""
        return [models.Record(id=n, payload={"lusifer_sha256": "sha"}) for n in ids if n != 5]

    def delete(self, _: str, selector: Any, **options: Any) -> None:
        self.calls.append(("delete", selector.filter.should, options))


def record(key: str) -> Record[Any]:
    content = points.PointContent({"body": "text"}, {})
    return Record(key, "sha", "text", "en", "", content)


def test_absent_points_are_inserted_and_present_ones_updated_under_a_guard() -> None:
    client: Any = Recorder()
    vector = np.zeros(2, np.float32)
    rows = [(record(key), vector) for key in KEYS[:2]] + [(record(KEYS[2]), None)]
    assert endpoint(client).write(rows, {KEYS[1]: "v@copy"}) == {
        KEYS[0]: "sha@copy",
        KEYS[2]: "sha@copy",
    }
    (_, inserted, insert), (_, updated, update) = client.calls
    assert (inserted, insert["update_mode"], insert["update_filter"]) == (
        [1, 9],
        models.UpdateMode.INSERT_ONLY,
        None,
    )
    assert (updated, update["update_mode"]) == ([5], models.UpdateMode.UPDATE_ONLY)
    assert update["update_filter"] == models.Filter(should=[points.has_version(KEYS[1], "v@copy")])
    assert (update["wait"], update["ordering"]) == (True, models.WriteOrdering.MEDIUM)


def test_a_request_has_at_most_128_points_and_8_mib() -> None:
    client: Any = Recorder()
    rows = [(record(f"#{number:020d}"), None) for number in range(300)]
    endpoint(client).write(rows, {})
    assert [len(ids) for _, ids, _ in client.calls] == [128, 128, 44]
    client.calls.clear()
    large = points.PointContent({"body": "x" * 3 * 1024**2}, {})
    endpoint(client).write(
        [(Record(f"#{number:020d}", "", "", "", "", large), None) for number in range(5)], {}
    )
    assert [len(ids) for _, ids, _ in client.calls] == [2, 2, 1]


def test_vectors_are_updated_where_the_content_is_unchanged() -> None:
    client: Any = Recorder()
    target = QdrantNamedVectorTarget(client, "a", "new", rules=FieldRules("body"))
    vector = np.zeros(2, np.float32)
    assert target.write([(record(KEYS[0]), vector), (record(KEYS[1]), None)], {}) == {
        KEYS[0]: "sha"
    }
    ((_, ids, options),) = client.calls
    assert ids == [1]
    guard = points.content_unchanged(record(KEYS[0]), FieldRules("body"))
    assert options["update_filter"] == models.Filter(should=[guard])


def test_only_points_of_the_expected_version_are_deleted() -> None:
    client: Any = Recorder()
    assert endpoint(client).delete({KEYS[0]: "v", KEYS[3]: "w@copy"}) == 2
    ((_, guards, _),) = client.calls
    assert guards == [points.has_version(KEYS[0], "v"), points.has_version(KEYS[3], "w@copy")]
