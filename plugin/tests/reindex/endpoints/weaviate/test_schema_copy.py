"""The schema of a copy, and what keeps a collection from being copied."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import FakeRest

from lusifer.errors import PlanError

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.objects import Service
from lusifer.reindex.endpoints.weaviate.schema_copy import (
    Replacement,
    add_missing_properties,
    check_copyable,
    copied_schema,
    module_name,
    schema_differences,
)


def vector(module: str = "none", **settings: Any) -> dict[str, Any]:
    return {
        "vectorizer": {module: {}},
        "vectorIndexType": "hnsw",
        "vectorIndexConfig": {"distance": "cosine", **settings},
    }


def source(**changes: Any) -> dict[str, Any]:
    return {
        "class": "Old",
        "description": "Theirs.",
        "vectorConfig": {"old": vector(), "other": vector(distance="dot")},
        "properties": [{"name": "sees", "dataType": ["Old", "Other"]}],
        "aSettingOfTomorrow": {"deep": 3},
        **changes,
    }


def replacement(old: str = "old", **service: Any) -> Replacement:
    given = Service(**{"address": None, "dimension": None, **service})
    return Replacement(old, "lusifer", given, "m")


def test_a_copy_has_every_setting() -> None:
    given = source()
    before = copy.deepcopy(given)
    made = copied_schema(given, "New", "Ours.", replacement())
    assert given == before
    assert made == {
        "class": "New",
        "description": "Ours.",
        "vectorConfig": {"other": vector(distance="dot"), "lusifer": vector()},
        # A reference from the collection to itself follows.
        "properties": [{"name": "sees", "dataType": ["New", "Other"]}],
        "aSettingOfTomorrow": {"deep": 3},
    }


def test_with_tenants_the_number_of_shards_is_left_out() -> None:
    tenants = {"multiTenancyConfig": {"enabled": True}, "shardingConfig": {"actualCount": 0}}
    assert "shardingConfig" not in copied_schema(source(**tenants), "New", "", replacement())
    made = copied_schema(source(shardingConfig={"desiredCount": 3}), "New", "", replacement())
    assert made["shardingConfig"] == {"desiredCount": 3}


def test_an_unnamed_vector_becomes_a_named_one() -> None:
    unnamed = source(
        vectorConfig=None,
        vectorizer="text2vec-transformers",
        vectorIndexType="flat",
        vectorIndexConfig={"distance": "l2-squared", "bq": {"enabled": True}},
        moduleConfig={
            "text2vec-transformers": {"inferenceUrl": "http://a"},
            "generative-openai": {},
        },
    )
    asked = Replacement("", "lusifer", Service(None, None), "m", ("body",))
    made = copied_schema(unnamed, "New", "", asked)
    assert made["vectorConfig"] == {
        "lusifer": {
            "vectorizer": {
                "text2vec-transformers": {
                    "inferenceUrl": "http://a",
                    "properties": ["body"],
                    "vectorizeClassName": False,
                }
            },
            "vectorIndexType": "flat",
            "vectorIndexConfig": {"distance": "cosine", "bq": {"enabled": True}},
        }
    }
    assert made["moduleConfig"] == {"generative-openai": {}}
    assert not {"vectorizer", "vectorIndexType", "vectorIndexConfig"} & made.keys()
    assert module_name(unnamed, "") == "text2vec-transformers"
    assert module_name(made, "lusifer") == "text2vec-transformers"


@pytest.mark.parametrize(
    ("module", "before", "service", "after"),
    [
        ("text2vec-transformers", {"inferenceUrl": "http://a", "dimensions": 8}, {}, {"inferenceUrl": "http://a"}),
        (
            "text2vec-transformers",
            {"passageInferenceUrl": "http://a", "queryInferenceUrl": "http://c", "properties": ["text"]},
            {"address": "http://b/", "dimension": 4},
            {"inferenceUrl": "http://b", "dimensions": 4, "properties": ["text"]},
        ),
        (
            "text2vec-cohere",
            {"baseURL": "http://a/cohere", "model": "old"},
            {"address": "http://b/"},
            {"baseURL": "http://b/cohere", "model": "m"},
        ),
        ("none", {}, {"address": "http://b", "dimension": 4}, {}),
    ],
)  # fmt: skip
def test_the_service_of_the_new_model_takes_the_place_of_the_old_one(
    module: str, before: dict[str, Any], service: dict[str, Any], after: dict[str, Any]
) -> None:
    old = {**vector(), "vectorizer": {module: before}}
    made = copied_schema(source(vectorConfig={"old": old}), "New", "", replacement(**service))
    assert made["vectorConfig"]["lusifer"]["vectorizer"] == {module: after}


def test_another_module_gives_way_to_ours() -> None:
    openai = source(vectorConfig={"old": vector("text2vec-openai")})
    with pytest.raises(PlanError, match="Old by text2vec-openai") as raised:
        check_copyable(openai, replacement(), 8, in_place=False)
    assert "--service-address" in raised.value.next_step
    asked = replacement(address="http://b")
    assert check_copyable(openai, asked, 8, in_place=False) == []
    made = copied_schema(openai, "New", "", asked)
    assert made["vectorConfig"]["lusifer"]["vectorizer"] == {
        "text2vec-transformers": {"inferenceUrl": "http://b"}
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectorIndexType": "hnsw"}, "an unnamed vector beside old, other, and"),
        ({"properties": [{"name": "h", "dataType": ["blobHash"]}]}, "The property h is a blobHash"),
        (
            {"properties": [{"name": "a", "dataType": ["object"], "nestedProperties": [{"name": "h", "dataType": ["blobHash"]}]}]},
            "The property a.h is a blobHash",
        ),
        (
            {"objectTtlConfig": {"enabled": True, "deleteOn": "_creationTimeUnix"}},
            "expire by the time of their creation",
        ),
        (
            {"vectorConfig": {"old": vector(multivector={"enabled": True})}},
            "The vector old is a multivector",
        ),
        (
            {"vectorConfig": {"old": vector(pq={"enabled": True, "segments": 3})}},
            "in 3 segments (pq), which don't divide 8",
        ),
        (
            {"vectorConfig": {"old": vector(hnsw={"pq": {"enabled": True, "segments": 3}})}},
            "in 3 segments (pq), which don't divide 8",
        ),
    ],
)  # fmt: skip
def test_what_a_copy_can_not_have_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match="Old can't be copied as it is") as raised:
        check_copyable(source(**changes), replacement(), 8, in_place=False)
    assert message in raised.value.message


def test_in_place_only_the_vector_counts() -> None:
    hashed = {"properties": [{"name": "h", "dataType": ["blobHash"]}]}
    assert check_copyable(source(**hashed), replacement(), 8, in_place=True) == []
    multi = source(vectorConfig={"old": vector(multivector={"enabled": True})})
    with pytest.raises(PlanError, match="The vector old is a multivector"):
        check_copyable(multi, replacement(), 8, in_place=True)


def test_in_place_a_collection_that_takes_no_change_is_refused() -> None:
    ranged = {"name": "n", "dataType": ["number"], "indexRangeFilters": True}
    inner = {"name": "b", "dataType": ["object"], "nestedProperties": [ranged]}
    given = source(properties=[{"name": "a", "dataType": ["object"], "nestedProperties": [inner]}])
    with pytest.raises(PlanError, match=r"every change of Old, because a\.b\.n has"):
        check_copyable(given, replacement(), 8, in_place=True)
    assert check_copyable(given, replacement(), 8, in_place=False) == []
    top = source(properties=[ranged])
    assert check_copyable(top, replacement(), 8, in_place=True) == []


def test_what_a_copy_has_otherwise_is_reported() -> None:
    given = source(
        vectorConfig={
            "old": vector(distance="dot", pq={"enabled": True, "segments": 4}),
            "theirs": vector("text2vec-openai"),
        },
        objectTtlConfig={"enabled": True, "deleteOn": "expires"},
        invertedIndexConfig={"indexTimestamps": True},
    )
    found = {
        each.subject: each.message
        for each in check_copyable(given, replacement(), 8, in_place=False)
    }
    assert found["distance"] == "The old vectors are compared by dot, the new ones by cosine."
    assert "Objects without it get one from text2vec-openai" in found["vectors"]
    assert set(found) == {"distance", "vectors", "times"}


def test_differences_are_paths() -> None:
    wanted = {"a": {"b": [1, {"c": 2}]}, "d": None, "e": 0}
    assert list(schema_differences(wanted, {**wanted, "more": 1})) == []
    assert list(schema_differences(wanted, {"a": {"b": [1, {"c": 3}]}})) == ["a.b[1].c"]
    assert list(schema_differences(wanted, {"a": {"b": [1]}})) == ["a.b"]


def test_properties_that_the_source_was_given_since_are_added() -> None:
    rest: Any = FakeRest({"": []})
    date = {"name": "born", "dataType": ["date"], "indexFilterable": False}
    link = {"name": "self", "dataType": ["Old"]}
    rest.schemas = {
        "Old": {"properties": [{"name": "a", "dataType": ["text"]}, date, link]},
        "New": {"properties": [{"name": "a", "dataType": ["text"]}]},
    }
    assert add_missing_properties(rest, "Old", "New") == {"a", "born", "self"}
    assert rest.sent == [
        ("POST", "/schema/New/properties", date),
        ("POST", "/schema/New/properties", {"name": "self", "dataType": ["New"]}),
    ]
