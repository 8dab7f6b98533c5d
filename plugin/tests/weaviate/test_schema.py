"""Vectors, quantizers and versions, without a server."""

from __future__ import annotations

import pytest

from lusifer.errors import InvalidInputError
from lusifer.weaviate.schema import vectors, version_warnings

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
