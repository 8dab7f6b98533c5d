from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import QdrantClient, models

from lusifer.errors import CollectionMismatchError, FingerprintMismatchError, IndexNotFoundError
from lusifer.qdrant.keywords import keyword_options
from lusifer.qdrant.metadata import (
    METADATA_KEY,
    CollectionMetadata,
    find_metadata,
    open_metadata,
    parse_metadata,
)
from lusifer.qdrant.schema import collection_arguments

METADATA = CollectionMetadata(
    collection="docs",
    fingerprint="sha256:a",
    model="tiny",
    dimension=16,
    role_prompts={"query": "q: "},
)
COSINE = models.VectorParams(size=16, distance=models.Distance.COSINE)


def info(vectors: Any, metadata: Any) -> Any:
    config = SimpleNamespace(params=SimpleNamespace(vectors=vectors), metadata=metadata)
    return SimpleNamespace(config=config)


def test_what_is_written_never_changes() -> None:
    """Byte for byte what the first versions wrote, in the order of their fields."""
    full = METADATA.model_copy(update={"keywords": keyword_options("de")})
    assert json.dumps(full.model_dump(mode="json", exclude_none=True)) == (
        '{"schema_version": 1, "collection": "docs", "fingerprint": "sha256:a", "model": "tiny", '
        '"dimension": 16, "role_prompts": {"query": "q: "}, "vector_name": "lusifer", '
        '"keywords": {"language": "german", "words": 2}}'
    )
    assert "keywords" not in METADATA.model_dump(mode="json", exclude_none=True)
    assert METADATA.model_dump_json().endswith('"vector_name":"lusifer","keywords":null}')


def test_metadata_is_read_as_it_was_written() -> None:
    for made in (METADATA, METADATA.model_copy(update={"keywords": keyword_options("de")})):
        arguments = collection_arguments(made)
        metadata = json.loads(json.dumps(arguments["metadata"]))
        assert parse_metadata("docs", info(arguments["vectors_config"], metadata)) == made
    assert arguments["sparse_vectors_config"]["bm25"].modifier == models.Modifier.IDF


def test_a_newer_lusifer_may_add_fields() -> None:
    metadata = {METADATA_KEY: {**METADATA.model_dump(mode="json"), "news": 1}}
    assert parse_metadata("docs", info({"lusifer": COSINE}, metadata)) == METADATA


@pytest.mark.parametrize(
    ("vectors", "metadata", "said"),
    [
        (COSINE, None, "one unnamed vector"),
        ({"b": COSINE, "a": COSINE}, {}, "vectors named a, b"),
        ({}, {"other": 1}, r"vectors named \(none\)"),
        ({"lusifer": COSINE}, {METADATA_KEY: {"schema_version": 2}}, "can't be read"),
        ({"lusifer": COSINE}, {METADATA_KEY: "text"}, "can't be read"),
        ({"other": COSINE}, {METADATA_KEY: METADATA.model_dump()}, "no vector named 'lusifer'"),
        (COSINE, {METADATA_KEY: METADATA.model_dump()}, "no vector named 'lusifer'"),
        (
            {"lusifer": models.VectorParams(size=8, distance=models.Distance.COSINE)},
            {METADATA_KEY: METADATA.model_dump()},
            "dimension 8 and distance Cosine; its metadata says 16",
        ),
        (
            {"lusifer": models.VectorParams(size=16, distance=models.Distance.EUCLID)},
            {METADATA_KEY: METADATA.model_dump()},
            "distance Euclid",
        ),
    ],
)
def test_a_collection_that_does_not_fit_is_refused(vectors: Any, metadata: Any, said: str) -> None:
    with pytest.raises(CollectionMismatchError, match=said) as caught:
        parse_metadata("docs", info(vectors, metadata))
    assert "lusifer qdrant setup" in caught.value.next_step


def test_metadata_of_a_name_or_alias_with_the_configuration() -> None:
    client = QdrantClient(":memory:")
    client.create_collection(**collection_arguments(METADATA))
    metadata, config = find_metadata(client, "docs")
    assert metadata == METADATA
    assert config.config.params.vectors["lusifer"].size == 16
    same, _ = open_metadata(client, "docs", fingerprint="sha256:a", model="tiny", dimension=16)
    assert same == METADATA
    with pytest.raises(FingerprintMismatchError, match=r"docs holds vectors of tiny \(sha256:a\)"):
        open_metadata(client, "docs", fingerprint="sha256:b", model="other")
    with pytest.raises(IndexNotFoundError, match="no collection 'other'"):
        find_metadata(client, "other")
