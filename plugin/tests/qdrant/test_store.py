from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from plugin.tests.qdrant.test_connection import answered
from plugin.tests.store_contract import documents, unit
from qdrant_client import QdrantClient, models

from lusifer.errors import (
    FingerprintMismatchError,
    InvalidDimensionError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
)
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.metadata import CollectionMetadata
from lusifer.qdrant.schema import collection_arguments
from lusifer.qdrant.store import QdrantStore
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = CollectionMetadata(collection="docs", fingerprint="f", model="m", dimension=16)


class Recorder:
    """A client that keeps what it is asked to write."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.upserts: list[tuple[int, bool, str]] = []
        self.points: list[models.PointStruct] = []

    def upsert(
        self, collection: str, points: Any, *, wait: bool, ordering: models.WriteOrdering
    ) -> None:
        assert collection == "docs"
        if self.errors:
            raise self.errors.pop(0)
        self.upserts.append((len(points), wait, ordering.value))
        self.points += points

    def close(self) -> None:
        pass


def recording(*errors: Exception, **options: Any) -> tuple[Recorder, QdrantStore]:
    client = Recorder(*errors)
    metadata = options.pop("metadata", METADATA)
    return client, QdrantStore(client, metadata, **options)  # type: ignore[arg-type]


@pytest.fixture
def store() -> Iterator[QdrantStore]:
    client = QdrantClient(":memory:")
    client.create_collection(**collection_arguments(METADATA))
    with QdrantStore.open(client, "docs", fingerprint="f", model="m", dimension=16) as opened:
        yield opened


def test_a_collection_is_opened_for_its_own_model_only(store: QdrantStore) -> None:
    assert (store.collection, store.fingerprint, store.dimension) == ("docs", "f", 16)
    with pytest.raises(FingerprintMismatchError):
        QdrantStore.open(store.client, "docs", fingerprint="g", model="m")
    with pytest.raises(InvalidDimensionError):
        QdrantStore.open(store.client, "docs", fingerprint="f", model="m", dimension=8)


def test_what_is_written_is_found(store: QdrantStore) -> None:
    store.upsert(documents(5), unit(5))
    assert (store.count(), store.count_without_vector()) == (5, 0)
    assert store.unchanged([*documents(5), Document("doc/1", "new")]) == {
        "doc/0",
        "doc/2",
        "doc/3",
        "doc/4",
    }
    assert store.search(unit(5)[3], 1)[0].id == "doc/3"
    assert store.text_of(Document("x", "as it is")) == "as it is"


def test_points_without_our_vector_are_counted_and_not_unchanged(store: QdrantStore) -> None:
    store.upsert(documents(2), unit(2))
    (point, _), _ = store.client.scroll("docs", limit=2)
    store.client.delete_vectors("docs", vectors=["lusifer"], points=[point.id])
    assert (store.count(), store.count_without_vector()) == (2, 1)
    assert store.unchanged(documents(2)) == {"doc/0", "doc/1"} - {point.payload["id"]}


@pytest.mark.parametrize(
    ("sizes_bytes", "expected"),
    [
        ([10] * 600, [256, 256, 88]),
        ([5_000_000, 5_000_000, 20_000_000, 1], [1, 1, 1, 1]),
        ([], []),
    ],
)
def test_requests_are_bounded_by_points_and_bytes(
    sizes_bytes: list[int], expected: list[int]
) -> None:
    client, store = recording()
    large = [Document(str(i), "x" * size) for i, size in enumerate(sizes_bytes)]
    store.upsert(large, unit(len(large)) if large else np.zeros((0, 16), dtype=np.float32))
    assert [points for points, *_ in client.upserts] == expected


def test_only_the_last_request_waits_where_asked() -> None:
    client, store = recording(wait=False, ordering="strong")
    store.upsert(documents(600), unit(600))
    assert client.upserts == [(256, False, "strong"), (256, False, "strong"), (88, True, "strong")]


def test_points_have_the_keyword_vector_where_the_collection_has_one() -> None:
    metadata = METADATA.model_copy(update={"keywords": KeywordOptions(language="german")})
    client, store = recording(metadata=metadata)
    store.upsert([Document("a", "tar", {"n": 1})], unit(1))
    (point,) = client.points
    assert isinstance(point.vector, dict)
    assert point.vector["bm25"] == models.Document(
        text="tar", model="qdrant/bm25", options={"language": "german"}
    )
    assert point.vector["lusifer"] == unit(1)[0].tolist()
    assert point.payload is not None
    assert point.payload["metadata"] == {"n": 1}


def test_a_document_over_the_servers_limit_is_named() -> None:
    client, store = recording()
    with pytest.raises(InvalidInputError) as caught:
        store.upsert([Document("small", "x"), Document("large", "x" * 33_600_000)], unit(2))
    assert caught.value.message.startswith("Document 'large' takes 33,600,3")
    assert caught.value.message.endswith("a request to Qdrant at most 33,554,432.")
    assert client.upserts == []


def test_a_request_is_sent_again_while_that_can_help(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    busy = answered(429, "slow", {"retry-after": "2"})
    client, store = recording(busy, answered(503, "away"))
    store.upsert(documents(1), unit(1))
    assert client.upserts == [(1, True, "weak")]
    assert 2 <= pauses[0] <= 2.5
    assert 0.25 <= pauses[1] <= 0.3125
    client, store = recording(answered(503, "away"), retry_for_s=0)
    with pytest.raises(StoreUnavailableError):
        store.upsert(documents(1), unit(1))


def test_a_closed_store_refuses_to_search(store: QdrantStore) -> None:
    store.close()
    with pytest.raises(StoreError, match="The collection docs is closed"):
        store.search(unit(1)[0], 1)
