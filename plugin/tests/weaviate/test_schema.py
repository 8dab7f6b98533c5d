"""Vectors, properties, quantizers and versions, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config, make_property

from lusifer.errors import InvalidInputError, StoreError
from lusifer.weaviate.schema import (
    add_own_properties,
    create_collection,
    vectors,
    version_warnings,
)

pytest.importorskip("weaviate")


def test_versions_and_what_they_lack() -> None:
    assert version_warnings("1.39.0") == version_warnings("1.38.8") == []
    lacking = {
        version: len(version_warnings(version))
        for version in ("1.38.7", "1.35.9", "1.31.4", "1.30.2")
    }
    assert lacking == {"1.38.7": 1, "1.35.9": 2, "1.31.4": 3, "1.30.2": 4}
    assert "task_type" in version_warnings("1.30.2")[0]
    assert "server-side batching" in version_warnings("1.35.9")[0]
    assert "pooled connection" in version_warnings("v1.38.7-rc.1")[0]


def test_the_vector_of_a_collection_is_set_up_for_any_language() -> None:
    made = vectors(
        "http://h:8000/", source_properties=["Title", "body"], dimensions=64, quantizer="rq"
    )
    fields = made.vectorizer.model_dump(exclude_none=True)
    assert fields["vectorizeClassName"] is False
    assert fields["inferenceUrl"] == "http://h:8000"
    assert made._to_dict()["vectorizer"]["text2vec-transformers"]["properties"] == ["title", "body"]
    cohere = vectors(
        "http://h:8000", source_properties=["text"], route="cohere", model="m"
    )._to_dict()
    module = cohere["vectorizer"]["text2vec-cohere"]
    assert (module["baseURL"], module["truncate"]) == ("http://h:8000/cohere", "END")
    for options, said in (
        ({"source_properties": []}, "No source properties"),
        ({"source_properties": ["a"], "route": "openai"}, "route is 'openai'"),
        ({"source_properties": ["a"], "quantizer": "x"}, "quantizer is 'x'"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            vectors("http://h:8000", **options)


@pytest.mark.parametrize(
    ("quantizer", "expected"),
    [
        ("none", {"skipDefaultQuantization": True}),
        ("rq", {"rq": {"enabled": True}}),
        ("sq", {"sq": {"enabled": True}}),
        ("bq", {"bq": {"enabled": True}}),
        ("pq", {"pq": {"enabled": True, "encoder": {}}}),
    ],
)
def test_quantizers(quantizer: Any, expected: dict[str, Any]) -> None:
    made = vectors("http://h:8000", source_properties=["text"], quantizer=quantizer)._to_dict()
    assert made["vectorIndexConfig"] == expected


class Server:
    """A server that records what is created on it."""

    def __init__(self, *taken: str, alias_fails: bool = False) -> None:
        self.taken = taken
        self.alias_fails = alias_fails
        self.made: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.collections = SimpleNamespace(
            exists=lambda name: name in self.taken,
            create=lambda name, **settings: self.made.update({name: settings}),
            delete=self.deleted.append,
        )
        self.alias = SimpleNamespace(create=self._create_alias)

    def _create_alias(self, *, alias_name: str, target_collection: str) -> None:
        if self.alias_fails:
            raise InvalidInputError(f"{alias_name} is not a valid name.", next_step="Change it.")
        self.made[target_collection]["alias"] = alias_name


def test_the_properties_of_a_collection() -> None:
    from weaviate.classes.config import DataType, Property

    server: Any = Server()
    create_collection(
        server,
        METADATA,
        service_url="http://h:8000",
        source_properties=["Title", "text"],
        properties=[Property(name="year", data_type=DataType.INT)],
        tokenization="trigram",
        alias="Live",
        description="Mine.",
    )
    made = server.made["A"]
    assert made["description"] == METADATA.in_description("Mine.")
    assert made["alias"] == "Live"
    assert [
        (each.name, each.dataType.value, each.tokenization and each.tokenization.value)
        for each in made["properties"]
    ] == [
        ("year", "int", None),
        ("text", "text", "trigram"),
        ("title", "text", "trigram"),
        ("lang", "text", "field"),
        ("document_id", "text", "field"),
        ("document_sha256", "text", "field"),
    ]
    hashes = made["properties"][-1]
    assert (hashes.indexFilterable, hashes.indexSearchable) == (False, False)
    (vector,) = made["vector_config"]
    assert vector._to_dict()["vectorizer"]["text2vec-transformers"]["properties"] == [
        "title",
        "text",
    ]
    assert made["multi_tenancy_config"] is None


def test_a_collection_is_made_whole_or_not_at_all() -> None:
    for taken in ("A", "Live"):
        server: Any = Server(taken)
        with pytest.raises(StoreError, match=f"{taken} exists already"):
            create_collection(server, METADATA, service_url="http://h", alias="Live")
        assert server.made == {}
    server = Server(alias_fails=True)
    with pytest.raises(InvalidInputError, match="not a valid name"):
        create_collection(server, METADATA, service_url="http://h", alias="no name")
    assert server.deleted == ["A"]


def test_own_properties_are_added_once() -> None:
    added: list[str] = []
    handle: Any = SimpleNamespace(
        config=SimpleNamespace(add_property=lambda each: added.append(each.name))
    )
    add_own_properties(handle, make_config("", properties=[make_property("text")]))
    assert added == ["document_id", "document_sha256"]
    both = [make_property("document_id"), make_property("document_sha256")]
    add_own_properties(handle, make_config("", properties=both))
    assert len(added) == 2
