"""The text that is embedded for an object: composed here as the server sends it, and its bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate.support import make_metadata
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.weaviate.recorded_texts import (
    COLLECTION,
    OBJECTS,
    SENT,
    SETTINGS,
    data_types,
    schema,
)

from lusifer.weaviate.metadata import rules_of
from lusifer.weaviate.schema import create_collection
from lusifer.weaviate.text_composition import compose_text

VECTOR = {"vector": [0.1] * 16, "dims": 16}


@contextlib.contextmanager
def recorded_collection(client: Any, gate: InferenceGate, setting: str) -> Iterator[Any]:
    """Provide the collection of the recorded table; the test answers its module."""
    client.collections.delete(COLLECTION)
    client.collections.create_from_dict(schema(SETTINGS[setting], gate.url))
    gate.answer(200, VECTOR)
    try:
        yield client.collections.get(COLLECTION)
    finally:
        client.collections.delete(COLLECTION)


def check_sent(client: Any, gate: InferenceGate, setting: str) -> None:
    """Check that the server sends what was recorded and what is composed here from its schema."""
    with recorded_collection(client, gate, setting) as handle:
        rules = rules_of(
            make_metadata(COLLECTION, lower_case=SETTINGS[setting].get("lower_case", False)),
            handle.config.get(),
        )
        assert rules.data_types == data_types()
        if SETTINGS[setting]["source_properties"] is None:
            # Such a collection is refused as a store; its rules are checked all the same.
            rules = replace(rules, source_properties=())
        for each, expected in zip(OBJECTS, SENT[setting], strict=True):
            gate.requests.clear()
            handle.data.insert_many([each])
            handle.data.insert(each)
            sent = [
                request.json()["text"] for request in gate.requests if request.path == "/vectors"
            ]
            assert sent == [expected] * (2 if expected else 0), each
            assert compose_text(each, rules) == expected


@pytest.mark.parametrize(
    "setting", [name for name in SETTINGS if not SETTINGS[name].get("lower_case")]
)
def test_the_composed_text_is_what_the_server_sends(
    client: Any, gate: InferenceGate, setting: str
) -> None:
    check_sent(client, gate, setting)


def test_the_bytes_of_a_request(client: Any, gate: InferenceGate, name: str) -> None:
    create_collection(client, make_metadata(name), service_url=gate.url, dimensions=16)
    gate.answer(200, VECTOR)
    handle = client.collections.get(name)
    gate.requests.clear()
    handle.data.insert({"text": "Caf<é> & 猫"})
    handle.query.near_text("Wo?", limit=1)
    passage, query = (request for request in gate.requests if request.method == "POST")
    head = (
        '{"text":"%s","dims":0,"vector":null,"error":"","config":{"pooling_strategy":"masked_mean",'
    )
    tail = '"task_type":"%s","dimensions":16}}'
    assert passage.body.decode() == head % r"Caf\u003cé\u003e \u0026 猫" + tail % "passage"
    assert query.body.decode() == head % "Wo?" + tail % "query"
    for each in (passage, query):
        assert (each.method, each.path) == ("POST", "/vectors")
        assert {"content-type", "authorization"}.isdisjoint(each.headers)


def test_the_requests_of_the_cohere_module(client: Any, gate: InferenceGate, name: str) -> None:
    create_collection(
        client, make_metadata(name, model="m"), service_url=gate.url, route="cohere", dimensions=16
    )
    gate.answer_with(
        lambda request: (
            200,
            {},
            b'{"embeddings":{"float":[%s]}}' % vectors(len(request.json()["texts"])),
        )
    )
    handle = client.collections.get(name)
    with handle.batch.fixed_size(batch_size=200) as batch:
        for n in range(200):
            batch.add_object({"text": f"text {n}"})
    assert handle.batch.failed_objects == []
    handle.query.near_text("Wo?", limit=1)
    # Between these, connecting clients make the server ask for /meta.
    asked = [request for request in gate.requests if request.method == "POST"]
    assert [len(request.json()["texts"]) for request in asked] == [96, 96, 8, 1]
    common = {"model": "m", "embedding_types": ["float"], "truncate": "END", "output_dimension": 16}
    query = asked[-1]
    assert query.path == "/cohere/v2/embed"
    assert query.json() == {**common, "texts": ["Wo?"], "input_type": "search_query"}
    for each in asked[:-1]:
        body = each.json()
        assert {**body, "texts": None} == {**common, "texts": None, "input_type": "search_document"}
        assert each.headers["authorization"].startswith("Bearer ")


def vectors(count: int) -> bytes:
    return b",".join([b"[%s]" % b",".join([b"0.25"] * 16)] * count)


def test_a_server_that_converts_everything_to_lower_case(
    own_weaviate: RunningWeaviate, gate: InferenceGate
) -> None:
    own_weaviate.run_with(LOWERCASE_VECTORIZATION_INPUT="true")
    with own_weaviate.client() as client:
        check_sent(client, gate, "lower case")
