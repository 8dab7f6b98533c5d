from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import FakeRest
from plugin.tests.weaviate.fakes import METADATA

from lusifer.errors import PlanError

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate.alias import WeaviateAliasCutover
from lusifer.reindex.endpoints.weaviate.objects import Service
from lusifer.reindex.endpoints.weaviate.schema_copy import Replacement
from lusifer.reindex.endpoints.weaviate.tenants import Tenants


class Client:
    """A server with the collections ``Old`` and ``New``, and what was changed on it."""

    def __init__(self, alias: str | None) -> None:
        self.meant = alias
        self.calls: list[tuple[str, str]] = []
        self.alias = self.collections = self

    def get(self, *, alias_name: str) -> Any:
        return None if self.meant is None else SimpleNamespace(collection=self.meant)

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


def cutover(client: Any, rest: Any = None, **changes: Any) -> WeaviateAliasCutover:
    rest = rest or FakeRest({"": []})
    options = {
        "alias": "Live", "source": "Old", "target": "New", "metadata": METADATA, "template": None,
        "replacement": Replacement("old", "lusifer", Service(None, None), "m"), **changes,
    }  # fmt: skip
    return WeaviateAliasCutover(client, rest, **options)


def test_the_alias_goes_and_comes_back_and_writes_are_released() -> None:
    client, rest = Client("Old"), collections(Old={})
    rest.shards = {"s1": "READY", "s2": "READONLY"}
    made = cutover(client, rest)
    made.activate()
    assert made.is_live()
    made.deactivate()
    assert not made.is_live()
    assert client.calls == [("update", "New"), ("update", "Old")]
    assert rest.sent == [("PUT", "/schema/Old/shards/s2", {"status": "READY"})]
    assert made.remove_target() == "the collection New"


def test_an_alias_that_was_not_there_is_created_and_deleted() -> None:
    client = Client(None)
    made = cutover(client, source=None)
    made.activate()
    made.deactivate()
    assert client.calls == [("create", "New"), ("delete", "Live")]


def collections(**schemas: dict[str, Any]) -> Any:
    rest = FakeRest({"": []})
    rest.schemas = {name: {"class": name, **each} for name, each in schemas.items()}
    return rest


SOURCE = {"vectorConfig": {"old": {"vectorizer": {"none": {}}, "vectorIndexType": "flat", "vectorIndexConfig": {"distance": "dot"}}}, "properties": []}  # fmt: skip


class Creating(Client):
    """A server without the target."""

    def exists(self, name: str) -> bool:
        return False


def test_the_target_is_created_and_compared() -> None:
    rest = collections(Old=SOURCE)
    made = cutover(Creating("Old"), rest, template=Tenants(rest, "Old"))
    wanted = made._schema(rest.schemas["Old"])
    rest.schemas["New"] = {**wanted, "replicationConfig": {"factor": 1}}
    made.prepare()
    assert rest.sent == [("POST", "/schema", wanted)]
    assert wanted["description"] == METADATA.in_description()


def test_a_target_with_other_settings_is_deleted_again() -> None:
    rest = collections(Old=SOURCE)
    made = cutover(Creating("Old"), rest, template=Tenants(rest, "Old"))
    wanted = made._schema(rest.schemas["Old"])
    vectors = {"lusifer": {**wanted["vectorConfig"]["lusifer"], "vectorIndexType": "hnsw"}}
    rest.schemas["New"] = {**wanted, "vectorConfig": vectors}
    with pytest.raises(PlanError, match=r"settings: vectorConfig\.lusifer\.vectorIndexType\."):
        made.prepare()
    assert rest.sent[-1] == ("DELETE", "/schema/New", None)


def test_what_refers_to_the_source_is_named() -> None:
    rest = collections(
        Old={"properties": [{"name": "self", "dataType": ["Old"]}]},
        Authors={"properties": [{"name": n, "dataType": ["Old", "B"]} for n in ("wrote", "read")]},
        Others={"properties": [{"name": "sees", "dataType": ["Authors"]}]},
    )
    made = cutover(Client("New"), rest)
    assert made.source_uses() == ["The collection Authors refers to it (read, wrote)."]
    rest.schemas.pop("Authors")
    assert made.source_uses() == []
    assert cutover(Client(None), rest, source=None).source_uses() == []


def test_tenants_that_were_left_out_are_uses_of_the_source() -> None:
    rest = FakeRest({"a": [], "b": [], "c": []})
    rest.schemas["Old"] = rest.schemas.pop("A")
    tenants = Tenants(rest, "Old", skipped=("b", "gone", "c"))  # type: ignore[arg-type]
    (found,) = cutover(Client("New"), rest, template=tenants).source_uses()
    assert found == "2 of its tenants were left out of the copy: b, c."
