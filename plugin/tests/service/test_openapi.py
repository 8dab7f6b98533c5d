from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Route

from lusifer.service.app import create_app
from lusifer.service.openapi import openapi_document
from lusifer.service.settings import Settings


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(create_app(Settings()).routes)


def test_every_protocol_is_described_under_its_tag(document: dict[str, Any]) -> None:
    tags = {
        (method, path): operation["tags"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert document["openapi"] == "3.1.0"
    assert tags["post", "/vectors"] == ["weaviate"]
    assert tags["post", "/v2/embed"] == ["cohere"]
    assert tags["post", "/"] == tags["post", "/qdrant"] == ["qdrant"]
    assert tags["post", "/v1/embeddings"] == ["openai"]
    assert tags["post", "/embed"] == ["tei"]
    assert tags["get", "/metrics"] == ["service"]
    # Starlette adds HEAD to each GET, and the page is no part of the API.
    assert {method for method, _ in tags} == {"get", "post"}
    assert ("get", "/") not in tags
    assert not [path for path in document["paths"] if "{" in path]


def test_bodies_answers_and_keys_are_described(document: dict[str, Any]) -> None:
    vectors = document["paths"]["/vectors"]["post"]
    body = vectors["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert body == "#/components/schemas/VectorRequest"
    assert document["components"]["schemas"]["VectorRequest"]["required"] == ["text"]
    assert list(vectors["responses"]) == [
        "200",
        "400",
        "401",
        "403",
        "404",
        "413",
        "429",
        "500",
        "503",
        "504",
    ]
    assert vectors["security"] == [{"key": []}, {}]
    live = document["paths"]["/.well-known/live"]["get"]
    assert (live["security"], "204" in live["responses"]) == ([], True)
    metrics = document["paths"]["/metrics"]["get"]["responses"]["200"]
    assert list(metrics["content"]) == ["text/plain"]


def test_a_plain_route_is_left_out() -> None:
    plain = Route("/plain", lambda request: None, methods=["GET"])  # type: ignore[arg-type]
    assert openapi_document([plain])["paths"] == {}
