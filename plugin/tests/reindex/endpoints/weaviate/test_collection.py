"""Pages, keys and versions over tenants, on a collection in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plugin.tests.weaviate.fakes import make_config

from lusifer.errors import InvalidInputError
from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, Record

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.collection import WeaviateEndpoint, release_writes
from lusifer.reindex.endpoints.weaviate.named_vector import WeaviateNamedVectorTarget
from lusifer.reindex.endpoints.weaviate.objects import ObjectContent, hash_of, mark_of
from lusifer.weaviate.text_composition import TextRules

IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 6)]
RULES = TextRules(collection="A", source_properties=("text",))
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


class Handle:
    """A collection, or one of its tenants, as the client has it."""

    def __init__(self, tenants: dict[str, list[str]]) -> None:
        self.stored = {
            name: {key: self._object(name, key) for key in ids} for name, ids in tenants.items()
        }
        config = make_config("")
        config.multi_tenancy_config = SimpleNamespace(enabled="" not in tenants)
        self.config = SimpleNamespace(get=lambda: config)
        self.tenants = SimpleNamespace(get=lambda: [name for name in self.stored if name])
        self.tenant = ""
        self.query = self.data = self.aggregate = self
        self.updated: list[tuple[str, dict[str, Any]]] = []

    @staticmethod
    def _object(tenant: str, key: str) -> Any:
        return SimpleNamespace(
            uuid=key,
            properties={"text": f"{tenant} {key[-1]}", "lang": "en"},
            vector={"lusifer": [1.0, 0.0]} if key != IDS[4] else {},
            references=None,
            metadata=SimpleNamespace(last_update_time=WRITTEN),
        )

    def get(self, _: str) -> Handle:
        return self

    def with_tenant(self, name: str) -> Any:
        shared = object.__new__(Handle)
        shared.__dict__.update(self.__dict__, tenant=name)
        shared.query = shared.data = shared.aggregate = shared
        return shared

    def fetch_objects(self, *, limit: int, after: str | None, **_: Any) -> Any:
        keys = sorted(key for key in self.stored[self.tenant] if after is None or key > after)
        return SimpleNamespace(objects=[self.stored[self.tenant][key] for key in keys[:limit]])

    def fetch_objects_by_ids(self, ids: list[str], **_: Any) -> Any:
        found = self.stored[self.tenant]
        return SimpleNamespace(objects=[found[key] for key in ids if key in found])

    def over_all(self, **_: Any) -> Any:
        return SimpleNamespace(total_count=len(self.stored[self.tenant]))

    def update(self, key: str, **values: Any) -> None:
        self.updated.append((key, values))


def endpoint(handle: Handle) -> WeaviateEndpoint:
    client: Any = SimpleNamespace(collections=handle)
    return WeaviateEndpoint(client, "A", "lusifer", rules=RULES)


@pytest.fixture
def plain() -> WeaviateEndpoint:
    return endpoint(Handle({"": IDS}))


@pytest.fixture
def tenants() -> WeaviateEndpoint:
    return endpoint(Handle({"b": IDS[:3], "a": IDS[:2], "empty": []}))


def walk(source: WeaviateEndpoint, key_range: KeyRange, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = source.read(key_range, cursor, limit)
        pages.append([record.key for record in page.records])
        cursor = page.cursor
        if cursor is None:
            return pages


def test_objects_are_counted_over_all_tenants(
    plain: WeaviateEndpoint, tenants: WeaviateEndpoint
) -> None:
    assert (plain.count(), plain.count_without_vector()) == (5, 1)
    assert (tenants.count(), tenants.count_without_vector()) == (5, 0)


def test_pages_follow_each_other(plain: WeaviateEndpoint) -> None:
    assert walk(plain, ALL_KEYS, 2) == [IDS[:2], IDS[2:4], IDS[4:]]
    # A range begins with its first key; Weaviate reads after one.
    assert walk(plain, KeyRange(IDS[1], IDS[4]), 2) == [IDS[1:3], IDS[3:4]]


def test_pages_run_on_from_one_tenant_to_the_next(tenants: WeaviateEndpoint) -> None:
    every = [f"a/{key}" for key in IDS[:2]] + [f"b/{key}" for key in IDS[:3]]
    assert walk(tenants, ALL_KEYS, 3) == [every[:3], every[3:]]
    assert walk(tenants, KeyRange("b/", ""), 9) == [every[2:]]
    assert walk(tenants, KeyRange("", "b/"), 9) == [every[:2]]


def test_tenants_are_split_into_ranges(tenants: WeaviateEndpoint, plain: WeaviateEndpoint) -> None:
    assert tenants.key_ranges(2) == [KeyRange("", "b/"), KeyRange("b/", "")]
    assert plain.key_ranges(1) == [ALL_KEYS]


NAMES = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), st.integers(1, 12), st.integers(1, 4))
@example(["acme", "acme-eu", "beta", "zeta"], 3, 2)
def test_key_ranges_have_every_object_of_every_tenant_once(
    names: list[str], count: int, limit: int
) -> None:
    """Whatever characters a tenant's name has, before or after the slash of a key."""
    source = endpoint(Handle(dict.fromkeys(names, IDS[:3])))
    read = [
        key
        for key_range in source.key_ranges(count)
        for page in walk(source, key_range, limit)
        for key in page
    ]
    assert sorted(read) == sorted(f"{name}/{key}" for name in names for key in IDS[:3])
    sampled = {record.key.rpartition("/")[0] for record in source.sample(3 * len(names), 0)}
    assert sampled == set(names)


def test_a_sample_has_every_tenant(tenants: WeaviateEndpoint) -> None:
    keys = [record.key for record in tenants.sample(6, 0)]
    assert {key[0] for key in keys} == {"a", "b"}
    assert keys == sorted(keys)


def test_objects_are_asked_for_by_key(tenants: WeaviateEndpoint) -> None:
    asked = [f"a/{IDS[0]}", f"a/{IDS[4]}", f"absent/{IDS[0]}", f"b/{IDS[2]}"]
    there = {asked[0], asked[3]}
    assert tenants.present(asked) == there
    assert set(tenants.hashes(asked)) == set(tenants.vectors(asked)) == there
    hashes = tenants.hashes(asked)
    assert tenants.versions(asked) == {key: f"{hashes[key]}@1767225600.0" for key in there}
    assert tenants.keys(KeyRange("b/", ""), None, 2) == (
        tenants.versions([f"b/{key}" for key in IDS[:2]]),
        f"b/{IDS[1]}",
    )


def test_a_query_in_a_collection_with_tenants_names_one(
    plain: WeaviateEndpoint, tenants: WeaviateEndpoint
) -> None:
    assert tenants.key_of("d1", "a") == f"a/{plain.key_of('d1')}"
    with pytest.raises(InvalidInputError, match="has tenants, and the query about 'd1' names none"):
        tenants.key_of("d1")


def test_writes_are_released_where_they_are_held() -> None:
    calls: list[Any] = []
    shards = [
        SimpleNamespace(name="s1", status="READY"),
        SimpleNamespace(name="s2", status="READONLY"),
    ]
    config = SimpleNamespace(
        get_shards=lambda: shards, update_shards=lambda *given: calls.append(given)
    )
    handle: Any = SimpleNamespace(config=config)
    release_writes(handle)
    shards.pop()
    release_writes(handle)
    assert calls == [("READY", ["s2"])]


def in_place(handle: Handle, *, in_use: bool) -> WeaviateNamedVectorTarget:
    client: Any = SimpleNamespace(collections=handle)
    return WeaviateNamedVectorTarget(client, "A", "lusifer", rules=RULES, in_use=lambda: in_use)


def test_in_place_a_vector_counts_with_the_mark_of_its_content() -> None:
    handle = Handle({"": IDS})
    first, second, third, *_ = handle.stored[""].values()
    first.properties["lusifer_mark"] = mark_of(hash_of(first))
    second.properties["lusifer_mark"] = 12
    assert set(in_place(handle, in_use=False).hashes(IDS)) == {IDS[0]}
    # Once the new vector is in use, one without mark is what an application sent along.
    assert set(in_place(handle, in_use=True).hashes(IDS)) == {IDS[0], IDS[2], IDS[3]}
    assert third.properties.get("lusifer_mark") is None


def test_in_place_vectors_are_written_with_their_mark_unless_the_content_changed() -> None:
    handle = Handle({"": IDS})
    target, vector = in_place(handle, in_use=False), np.array([0.5, 0.5], np.float32)
    sha256 = hash_of(handle.stored[""][IDS[0]])
    content = ObjectContent({}, {}, {})
    rows = [
        (Record(IDS[0], sha256, "", "", "", content), vector),
        (Record(IDS[1], "of an older text", "", "", "", content), vector),
    ]
    assert target.write(rows, {}) == 1
    assert handle.updated == [
        (
            IDS[0],
            {"properties": {"lusifer_mark": mark_of(sha256)}, "vector": {"lusifer": [0.5, 0.5]}},
        )
    ]
