from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from plugin.tests.store_contract import LIBRARY
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import (
    FingerprintMismatchError,
    IndexNotFoundError,
    InvalidDimensionError,
    InvalidTextError,
)
from lusifer.qdrant.metadata import metadata_for
from lusifer.qdrant.points import payload_of
from lusifer.qdrant.schema import collection_arguments
from lusifer.qdrant.search import (
    embed_async,
    points,
    points_async,
    search,
    search_async,
    server_points,
)
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.bundle.format import Bundle
    from lusifer.embedding.base import Embedder


@pytest.fixture
def vectorizer(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


@pytest.fixture
def client(vectorizer: Vectorizer) -> Iterator[QdrantClient]:
    made = QdrantClient(":memory:")
    made.create_collection(**collection_arguments(metadata_for("docs", vectorizer)))
    made.upsert("docs", points(LIBRARY, vectorizer))
    yield made
    made.close()


def test_points_hold_vector_id_and_payload(client: QdrantClient, vectorizer: Vectorizer) -> None:
    vectors = vectorizer.embed_documents([each.text for each in LIBRARY]).vectors
    for document, vector in zip(LIBRARY, vectors, strict=True):
        (record,) = client.retrieve("docs", [document_uuid(document.id)], with_vectors=True)
        assert record.payload == payload_of(document)
        assert np.abs(np.float32(record.vector["lusifer"]) - vector).max() < 1e-6


def test_rows_of_an_array_serve_as_vectors(client: QdrantClient, vectorizer: Vectorizer) -> None:
    (vector,) = vectorizer.embed_documents(["text"]).vectors
    client.upsert("docs", [models.PointStruct(id=1, vector={"lusifer": vector})])
    assert client.count("docs").count == len(LIBRARY) + 1


def test_a_document_that_cannot_be_embedded_makes_no_points(vectorizer: Vectorizer) -> None:
    with pytest.raises(InvalidTextError):
        points([*LIBRARY, Document("x", " ")], vectorizer)
    with pytest.raises(InvalidTextError):
        server_points([Document("x", "a\x00")], "lusifer/tiny")
    assert points([], vectorizer) == server_points([], "lusifer/tiny") == []


def test_points_for_the_server_to_embed(vectorizer: Vectorizer) -> None:
    (point,) = server_points(LIBRARY[:1], "lusifer/tiny")
    assert point.vector == {"lusifer": models.Document(text="a red house", model="lusifer/tiny")}
    assert (point.id, point.payload) == (document_uuid("en-1"), payload_of(LIBRARY[0]))


def test_search_is_that_of_the_model(client: QdrantClient, vectorizer: Vectorizer) -> None:
    scores = (
        vectorizer.embed_documents([each.text for each in LIBRARY]).vectors
        @ vectorizer.embed_query("a").vector
    )
    hits = search(client, "docs", "a", vectorizer, limit=3)
    assert [hit.id for hit in hits] == [LIBRARY[n].id for n in np.argsort(-scores)[:3]]
    german = search(client, "docs", "a", vectorizer, options=SearchOptions(languages=("de",)))
    assert [hit.id for hit in german] == ["de-1"]
    grouped = search(client, "docs", "a", vectorizer, options=SearchOptions(group_by="book"))
    assert {hit.metadata["book"] for hit in grouped} == {"x", "y", "z"}


def test_another_model_or_dimension_is_refused_before_the_query_is_embedded(
    client: QdrantClient, vectorizer: Vectorizer
) -> None:
    from lusifer.qdrant.metadata import METADATA_KEY

    rows = vectorizer.engine.rows  # type: ignore[attr-defined]
    short = Vectorizer(vectorizer.bundle, vectorizer.engine, dimension=8)
    with pytest.raises(InvalidDimensionError, match=r"dimension 16.*makes 8"):
        search(client, "docs", "a", short)
    metadata = metadata_for("docs", vectorizer).model_copy(update={"fingerprint": "sha256:other"})
    client.update_collection("docs", metadata={METADATA_KEY: metadata.model_dump(mode="json")})
    with pytest.raises(FingerprintMismatchError):
        search(client, "docs", "a", vectorizer)
    with pytest.raises(IndexNotFoundError):
        search(client, "elsewhere", "a", vectorizer)
    assert vectorizer.engine.rows == rows  # type: ignore[attr-defined]


class HeldEngine(FakeEngine):
    """Computes only once the event loop lets it: a loop that is blocked never would."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.waiting, self.go = threading.Event(), threading.Event()

    def run(self, *arguments: Any) -> Any:
        self.waiting.set()
        assert self.go.wait(60), "the event loop was blocked"
        return super().run(*arguments)


def test_the_event_loop_is_never_blocked(bundle: Bundle) -> None:
    async def held(work: Any) -> Any:
        """Run work; while the engine waits, only this loop can let it continue."""
        engine = HeldEngine(16)
        slow: Embedder = Vectorizer(bundle, engine)
        task = asyncio.create_task(work(slow))
        assert await asyncio.to_thread(engine.waiting.wait, 60)
        engine.go.set()
        return await task

    async def main() -> tuple[Any, Any, Any]:
        client = AsyncQdrantClient(":memory:")
        fast = Vectorizer(bundle, FakeEngine(16))
        await client.create_collection(**collection_arguments(metadata_for("docs", fast)))
        made = await held(lambda slow: points_async(LIBRARY, slow))
        await client.upsert("docs", made)
        hits = await held(lambda slow: search_async(client, "docs", "a", slow, limit=3))
        grouped = await search_async(
            client, "docs", "a", fast, options=SearchOptions(group_by="book")
        )
        vectors = [
            await held(lambda slow, role=role: embed_async(["a"], role, slow))
            for role in ("query", "document")
        ]
        await client.close()
        return hits, grouped, vectors

    hits, grouped, (query, document) = asyncio.run(main())
    vectorizer = Vectorizer(bundle, FakeEngine(16))
    scores = vectorizer.embed_documents([each.text for each in LIBRARY]).vectors @ query[0]
    assert [hit.id for hit in hits] == [LIBRARY[n].id for n in np.argsort(-scores)[:3]]
    assert len(grouped) == 3
    assert np.abs(query - vectorizer.embed_queries(["a"]).vectors).max() < 1e-6
    assert np.abs(document - vectorizer.embed_documents(["a"]).vectors).max() < 1e-6
