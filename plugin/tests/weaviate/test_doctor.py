"""The doctor on what a server says of itself, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config

from lusifer.weaviate.doctor import _address, _schema, examine

pytest.importorskip("weaviate")


class Away:
    """A server of which only /v1/meta is there."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def get_meta(self) -> dict[str, Any]:
        return self.meta


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (
            {"version": "1.30.1", "modules": {"text2vec-cohere": {}}},
            {"version": "warning", "modules": "ok"},
        ),
        ({"version": "1.39.0", "modules": {}}, {"version": "ok", "modules": "error"}),
        ({"version": "1.39.0"}, {"version": "ok", "modules": "error"}),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"error": "dial"}}},
            {"reached": "warning"},
        ),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"model": "t5"}}},
            {"reached": "note"},
        ),
        (
            {
                "version": "1.39.0",
                "modules": {"text2vec-transformers": {"name": "lusifer", "model": "m"}},
            },
            {"reached": "ok"},
        ),
    ],
)
def test_the_doctor_reads_what_the_server_says_of_itself(
    meta: dict[str, Any], expected: dict[str, str]
) -> None:
    found = {each.subject: each.severity for each in examine(Away(meta))}
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"inferenceUrl": "http://h:8000/"}, "http://h:8000"),
        ({"passageInferenceUrl": "http://h:8000"}, "http://h:8000"),
        ({"baseURL": "http://h:8000/cohere"}, "http://h:8000"),
        ({}, None),
    ],
)
def test_the_address_that_a_module_asks(settings: dict[str, str], expected: str | None) -> None:
    assert _address(METADATA, make_config("", settings=settings)) == expected


@pytest.mark.parametrize(
    ("options", "modules", "expected"),
    [
        ({}, {"text2vec-transformers"}, {"schema": "ok"}),
        ({}, {"text2vec-cohere"}, {"schema": "ok", "module": "error"}),
        ({"module": "none"}, set(), {"schema": "ok", "module": "note"}),
        (
            {"settings": {"vectorizeClassName": True}},
            {"text2vec-transformers"},
            {"schema": "ok", "class name": "warning"},
        ),
    ],
)
def test_the_schema_of_a_collection(
    options: dict[str, Any], modules: set[str], expected: dict[str, str]
) -> None:
    found = list(_schema(METADATA, make_config("", **options), modules))
    assert {each.subject: each.severity for each in found} == expected
    module = options.get("module", "text2vec-transformers")
    assert found[0].message == f"vector 'lusifer' by {module} from text, filled by m"


class OneCollection(Away):
    """A server with one collection, which has tenants."""

    def __init__(self, config: Any) -> None:
        super().__init__({"version": "1.39.0", "modules": {"text2vec-transformers": {}}})
        handle = SimpleNamespace(config=SimpleNamespace(get=lambda: config))
        self.collections = SimpleNamespace(get=lambda name: handle)


def test_a_collection_with_tenants_or_without_metadata() -> None:
    config = make_config(METADATA.in_description())
    config.multi_tenancy_config = SimpleNamespace(enabled=True)
    other: Any = SimpleNamespace(fingerprint="sha256:b", model_name="other")
    client: Any = OneCollection(config)
    found = {each.subject: each for each in examine(client, collection="A", embedder=other)}
    assert found["fingerprint"].severity == "error"
    assert found["objects"].fix == "Add --tenant NAME to examine its objects."
    client = OneCollection(make_config("Mine."))
    *_, last = examine(client, collection="A")
    assert (last.subject, last.severity) == ("schema", "error")
    *_, last = examine(client)
    assert (last.subject, last.fix) == ("collection", "Add --collection NAME to examine one.")
