from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import pytest

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge")

from qdrant_client import QdrantClient, models

from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import IndexNotFoundError, InvalidInputError, StoreError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.metadata import CollectionMetadata
from lusifer.qdrant.schema import (
    aliases,
    collection_arguments,
    create_collection,
    refuse_used_alias,
    set_alias,
)
from lusifer.types import Quantization

if TYPE_CHECKING:
    from pathlib import Path

METADATA = CollectionMetadata(
    collection="docs", fingerprint="sha256:a", model="tiny", dimension=16, vector_name="own"
)


def test_arguments_of_a_collection() -> None:
    assert collection_arguments(METADATA) == {
        "collection_name": "docs",
        "vectors_config": {"own": models.VectorParams(size=16, distance=models.Distance.COSINE)},
        "metadata": {
            "lusifer": {
                "schema_version": 1,
                "collection": "docs",
                "fingerprint": "sha256:a",
                "model": "tiny",
                "dimension": 16,
                "role_prompts": {},
                "vector_name": "own",
            }
        },
    }
    keywords = METADATA.model_copy(update={"keywords": KeywordOptions()})
    assert collection_arguments(keywords)["sparse_vectors_config"] == {
        "bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)
    }


def test_a_collection_is_created_once_with_an_index_for_each_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = QdrantClient(":memory:")
    indexed: list[Any] = []
    # The client's local mode has no indexes.
    monkeypatch.setattr(client, "create_payload_index", lambda *call, **_: indexed.append(call))
    create_collection(client, METADATA, index_fields=("lang", "book"))
    assert indexed == [
        ("docs", "metadata.lang", models.PayloadSchemaType.KEYWORD),
        ("docs", "metadata.book", models.PayloadSchemaType.KEYWORD),
    ]
    with pytest.raises(StoreError, match=r"docs exists already\..*lusifer doctor qdrant"):
        create_collection(client, METADATA)


def test_an_alias_is_set_and_moved() -> None:
    client = QdrantClient(":memory:")
    for name in ("v1", "v2"):
        made = METADATA.model_copy(update={"collection": name})
        client.create_collection(**collection_arguments(made))
    set_alias(client, "live", "v1")
    assert aliases(client) == {"live": "v1"}
    set_alias(client, "live", "v2")
    assert aliases(client) == {"live": "v2"}
    with pytest.raises(IndexNotFoundError, match="no collection 'v3'"):
        set_alias(client, "live", "v3")


def test_an_alias_in_use_is_never_taken_from_its_collection() -> None:
    refuse_used_alias("live", {"other": "docs"})
    with pytest.raises(StoreError, match="live already points to docs"):
        refuse_used_alias("live", {"live": "docs"})


@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_server_and_engine_know_each_quantization(
    quantization: Quantization, tmp_path: Path
) -> None:
    asked = collection_arguments(METADATA, quantization=quantization).get("quantization_config")
    assert (asked is None) == (quantization == "none")
    with EmbeddedStore.create(
        tmp_path / "index", fingerprint="f", dimension=16, model="tiny", quantization=quantization
    ):
        kept = json.loads((tmp_path / "index" / "shard" / "edge_config.json").read_text())
    kept = kept["vectors"]["lusifer"].get("quantization_config")
    if asked is None:
        assert kept is None
    else:
        # The same kind with the same settings, as the two write them.
        assert json.loads(asked.model_dump_json(exclude_none=True)).keys() == kept.keys()


def test_an_unknown_quantization_is_refused_by_both(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'x'"):
        collection_arguments(METADATA, quantization="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'x'"):
        EmbeddedStore.create(
            tmp_path / "index",
            fingerprint="f",
            dimension=16,
            model="tiny",
            quantization="x",  # type: ignore[arg-type]
        )
    assert not (tmp_path / "index" / "index.json").exists()
