from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import METADATA

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.alias import WeaviateAliasCutover
from lusifer.reindex.endpoints.weaviate.objects import Service


class Client:
    """A server with the collections ``Old`` and ``New``, and what was changed on it."""

    def __init__(self, alias: str | None) -> None:
        self.meant = alias
        self.calls: list[tuple[str, str]] = []
        self.alias = self.collections = self
        self.read_only: list[str] = []

    def get(self, name: str | None = None, *, alias_name: str | None = None) -> Any:
        if alias_name is not None:
            return None if self.meant is None else SimpleNamespace(collection=self.meant)
        shards = [
            SimpleNamespace(name=each, status="READONLY" if each in self.read_only else "READY")
            for each in ("s1", "s2")
        ]
        return SimpleNamespace(
            config=SimpleNamespace(
                get_shards=lambda: shards,
                update_shards=lambda status, names: self.calls.append((status, *names)),
            )
        )

    def create(self, *, alias_name: str, target_collection: str) -> None:
        self.calls.append(("create", target_collection))
        self.meant = target_collection

    def update(self, *, alias_name: str, new_target_collection: str) -> None:
        self.calls.append(("update", new_target_collection))
        self.meant = new_target_collection

    def delete(self, name: str = "", *, alias_name: str = "") -> None:
        self.calls.append(("delete", name or alias_name))
        if alias_name:
            self.meant = None


def cutover(client: Any, **changes: Any) -> WeaviateAliasCutover:
    options = {
        "alias": "Live", "source": "Old", "target": "New", "metadata": METADATA, "template": "Old",
        "replaced_vector": "old", "service": Service(None, None), **changes,
    }  # fmt: skip
    return WeaviateAliasCutover(client, **options)


def test_the_alias_goes_and_comes_back_and_writes_are_released() -> None:
    client = Client("Old")
    client.read_only = ["s2"]
    made = cutover(client)
    made.activate()
    assert made.is_live()
    made.deactivate()
    assert not made.is_live()
    assert client.calls == [("update", "New"), ("READY", "s2"), ("update", "Old")]
    assert made.remove_target() == "the collection New"


def test_an_alias_that_was_not_there_is_created_and_deleted() -> None:
    client = Client(None)
    made = cutover(client, source=None)
    made.activate()
    made.deactivate()
    assert client.calls == [("create", "New"), ("delete", "Live")]


def schema(vectorizer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the schema of the target for a source with this vectorizer."""
    config = SimpleNamespace(
        name="Old",
        description='Theirs.\nlusifer: {"model": "x"}',
        to_dict=lambda: {
            "class": "Old",
            "vectorConfig": {"old": {"vectorizer": vectorizer}, "other": {"vectorizer": {}}},
            "properties": [{"name": "sees", "dataType": ["Old", "Other"]}],
        },
    )
    made: Any = cutover(None, **changes)._schema(config)  # type: ignore[arg-type]
    return dict(made)


def test_the_target_has_the_schema_of_the_template() -> None:
    made = schema({"none": {}})
    assert made["class"] == "New"
    assert set(made["vectorConfig"]) == {"lusifer", "other"}
    assert made["description"] == METADATA.in_description("Theirs.")
    # A reference from the collection to itself follows.
    assert made["properties"] == [{"name": "sees", "dataType": ["New", "Other"]}]


@pytest.mark.parametrize(
    ("module", "before", "changes", "after"),
    [
        ("text2vec-transformers", {"inferenceUrl": "http://a", "dimensions": 8}, {}, {"inferenceUrl": "http://a"}),
        (
            "text2vec-transformers",
            {"inferenceUrl": "http://a"},
            {"service": Service("http://b/", 4)},
            {"inferenceUrl": "http://b", "dimensions": 4},
        ),
        (
            "text2vec-cohere",
            {"baseURL": "http://a/cohere", "model": "old"},
            {"service": Service("http://b/", None)},
            {"baseURL": "http://b/cohere", "model": "m"},
        ),
        ("none", {}, {"service": Service("http://b", 4)}, {}),
    ],
)  # fmt: skip
def test_the_service_of_the_new_model_takes_the_place_of_the_old_one(
    module: str, before: dict[str, Any], changes: dict[str, Any], after: dict[str, Any]
) -> None:
    made = schema({module: dict(before)}, **changes)
    assert made["vectorConfig"]["lusifer"]["vectorizer"] == {module: after}
