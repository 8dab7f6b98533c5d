"""Pages, keys and versions over tenants, on a collection in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plugin.tests.weaviate.fake_rest import FakeRest

from lusifer.errors import InvalidInputError
from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, Record

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.collection import WeaviateEndpoint
from lusifer.reindex.endpoints.weaviate.named_vector import WeaviateNamedVectorTarget
from lusifer.reindex.endpoints.weaviate.objects import ObjectContent, hash_of, mark_of
from lusifer.reindex.endpoints.weaviate.tenants import Tenants
from lusifer.weaviate.text_composition import TextRules

IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 6)]
RULES = TextRules(collection="A", source_properties=("text",))


def stored(tenant: str, key: str) -> dict[str, Any]:
    """Return an object; the last of the ids has no vector."""
    vectors = {"lusifer": [1.0, 0.0]} if key != IDS[4] else {"lusifer": [0.0, 0.0]}
    properties = {"text": f"{tenant} {key[-1]}", "lang": "en"}
    return {"id": key, "properties": properties, "vectors": vectors}


class Handle:
    """A collection, or one of its tenants, as the client has it."""

    def __init__(self, rest: FakeRest) -> None:
        self.rest = rest
        self.tenant = ""
        self.query = self.data = self.aggregate = self
        self.updated: list[tuple[str, dict[str, Any]]] = []

    def get(self, _: str) -> Handle:
        return self

    def with_tenant(self, name: str) -> Any:
        shared = object.__new__(Handle)
        shared.__dict__.update(self.__dict__, tenant=name)
        shared.query = shared.data = shared.aggregate = shared
        return shared

    def over_all(self, **_: Any) -> Any:
        return SimpleNamespace(total_count=len(self.rest.objects[self.tenant]))

    def near_vector(self, vector: list[float], *, limit: int, **_: Any) -> Any:
        found = [SimpleNamespace(uuid=key) for key in sorted(self.rest.objects[self.tenant])]
        return SimpleNamespace(objects=found[:limit])

    def update(self, key: str, **values: Any) -> None:
        self.updated.append((key, values))


def parts(tenants: dict[str, list[str]]) -> tuple[Any, Any, Tenants]:
    """Return client, REST API and tenants of a collection with these objects."""
    rest: Any = FakeRest(
        {name: [stored(name, key) for key in ids] for name, ids in tenants.items()}
    )
    return SimpleNamespace(collections=Handle(rest)), rest, Tenants(rest, "A")


def endpoint(tenants: dict[str, list[str]], **options: Any) -> WeaviateEndpoint:
    return WeaviateEndpoint(*parts(tenants), "lusifer", rules=RULES, **options)


@pytest.fixture
def plain() -> WeaviateEndpoint:
    return endpoint({"": IDS})


@pytest.fixture
def tenants() -> WeaviateEndpoint:
    return endpoint({"b": IDS[:3], "a": IDS[:2], "empty": []})


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
    source = endpoint(dict.fromkeys(names, IDS[:3]))
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
    assert tenants.versions(asked) == {key: f"{hashes[key]}@1767225600000" for key in there}
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


def in_place(server: tuple[Any, Any, Tenants], *, in_use: bool) -> WeaviateNamedVectorTarget:
    return WeaviateNamedVectorTarget(*server, "lusifer", rules=RULES, in_use=lambda: in_use)


def test_in_place_a_vector_counts_with_the_mark_of_its_content() -> None:
    server = parts({"": IDS})
    first, second, third, *_ = server[1].objects[""].values()
    first["properties"]["lusifer_mark"] = mark_of(hash_of(first))
    second["properties"]["lusifer_mark"] = 12
    assert set(in_place(server, in_use=False).hashes(IDS)) == {IDS[0]}
    # Once the new vector is in use, one without mark is what an application sent along.
    assert set(in_place(server, in_use=True).hashes(IDS)) == {IDS[0], IDS[2], IDS[3]}
    assert third["properties"].get("lusifer_mark") is None


def test_in_place_vectors_are_written_with_their_mark_unless_the_content_changed() -> None:
    server = parts({"": IDS})
    target, vector = in_place(server, in_use=False), np.array([0.5, 0.5], np.float32)
    sha256 = hash_of(server[1].objects[""][IDS[0]])
    content = ObjectContent({}, {}, {})
    rows = [
        (Record(IDS[0], sha256, "", "", "", content), vector),
        (Record(IDS[1], "of an older text", "", "", "", content), vector),
    ]
    assert target.write(rows, {}) == {IDS[0]: sha256}
    assert server[0].collections.updated == [
        (
            IDS[0],
            {"properties": {"lusifer_mark": mark_of(sha256)}, "vector": {"lusifer": [0.5, 0.5]}},
        )
    ]


@pytest.mark.parametrize("asked", [[0, 1, 2, 3, 4], [0, 4], [4, 2], [1, 1]])
def test_objects_are_found_wherever_they_lie(asked: list[int]) -> None:
    """Asked for are keys that are there, next to others and far apart, and keys that are not."""
    many = [f"00000000-0000-0000-0000-{number:012d}" for number in range(0, 1000, 3)]
    source = endpoint({"": many})
    wanted = [many[each * 83] for each in asked] + ["ffffffff-0000-0000-0000-000000000000"]
    absent = "00000000-0000-0000-0000-000000000001"
    assert source.present([*wanted, absent]) == set(wanted[:-1])
    requests = [each for each in source.rest.gets if each == "/objects"]  # type: ignore[attr-defined]
    assert len(requests) <= len(wanted) + 1


def test_neighbours_are_found_in_few_requests() -> None:
    many = [f"00000000-0000-0000-0000-{number:012d}" for number in range(1000)]
    source = endpoint({"": many})
    assert source.present(many) == set(many)
    assert len([each for each in source.rest.gets if each == "/objects"]) == 5  # type: ignore[attr-defined]


def test_the_nearest_are_records_in_the_order_of_the_search(plain: WeaviateEndpoint) -> None:
    vector = np.array([1.0, 0.0], np.float32)
    (near,) = plain.nearest([vector], 3, [IDS[0]])
    assert [(each.key, each.text) for each in near] == [(key, f" {key[-1]}") for key in IDS[:3]]


def test_a_text_that_can_not_be_embedded_gets_zeros_where_weaviate_would_embed_it() -> None:
    records = [Record(IDS[0], "s", text, "", "", ObjectContent({}, {}, {})) for text in ("  ", "")]
    for zeros, expected in (([0.0, 0.0], [{"lusifer": [0.0, 0.0]}, {}]), ((), [{}, {}])):
        made = endpoint({"": []}, placeholder=zeros)
        assert [made._object(each, None)["vectors"] for each in records] == expected
