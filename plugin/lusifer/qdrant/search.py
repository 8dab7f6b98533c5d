"""Documents into a collection and questions at it, beside the team's own use of ``qdrant-client``.

For a client that the application has anyway, sync or async. With a server that embeds by itself
nothing of this is needed: send ``models.Document``. These are for vectors made here, by a bundle or
a service.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lusifer.qdrant.connection import import_client, qdrant_errors
from lusifer.qdrant.keywords import BM25_MODEL
from lusifer.qdrant.metadata import find_metadata, parse_metadata
from lusifer.qdrant.points import KEYWORD_VECTOR, payload_of
from lusifer.qdrant.queries import hits_of, query_arguments
from lusifer.stores.payloads import VECTOR_NAME, document_uuid
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.embedding.base import Embedder
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.types import Document, Hit, Role

__all__ = ["embed_async", "points", "points_async", "search", "search_async", "server_points"]


def points(
    documents: Sequence[Document], embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> list[Any]:
    """``PointStruct`` of N documents with vectors made here, ready for ``client.upsert``.

    Args:
        documents: What to store.
        embedder: A vectorizer or a remote one.
        keywords: The collection's keyword options, where it has a BM25 vector.

    Raises:
        InvalidInputError: A document can't be embedded or stored.
        EngineError: The engine can't run.
    """
    payloads = [payload_of(document) for document in documents]
    embedded = embedder.embed_documents([document.text for document in documents])
    models = import_client().models
    return [
        models.PointStruct(
            id=document_uuid(document.id),
            # Rows of an array do as well; the client would make lists of them, more slowly.
            vector={VECTOR_NAME: embedding.vector.tolist(), **_words(document, keywords)},
            payload=payload,
        )
        for document, payload, embedding in zip(documents, payloads, embedded, strict=True)
    ]


async def points_async(
    documents: Sequence[Document], embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> list[Any]:
    """As :func:`points`, with the model in a thread, so that the event loop stays free."""
    return await asyncio.to_thread(points, documents, embedder, keywords=keywords)


async def embed_async(texts: Sequence[str], role: Role, embedder: Embedder) -> NDArray[np.float32]:
    """Vectors ``(N, D)`` for points of one's own, with the model in a thread.

    Without an event loop: ``embedder.embed_documents(texts).vectors``.

    Raises:
        InvalidInputError: A text can't be embedded.
        EngineError: The engine can't run.
    """
    embed = embedder.embed_queries if role == "query" else embedder.embed_documents
    return (await asyncio.to_thread(embed, texts)).vectors


def server_points(
    documents: Sequence[Document], model: str, *, keywords: KeywordOptions | None = None
) -> list[Any]:
    """``PointStruct`` of N documents that the server shall have embedded by its inference service.

    Args:
        documents: What to store.
        model: The name the service goes by, such as ``lusifer/lusifer-small``.
        keywords: The collection's keyword options, where it has a BM25 vector.

    Raises:
        InvalidInputError: A document can't be stored.
    """
    models = import_client().models
    return [
        models.PointStruct(
            id=document_uuid(document.id),
            vector={
                VECTOR_NAME: models.Document(text=document.text, model=model),
                **_words(document, keywords),
            },
            payload=payload_of(document),
        )
        for document in documents
    ]


def search(
    client: Any,
    collection: str,
    question: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
) -> list[Hit]:
    """Ask a collection a question in any language.

    The model's fingerprint is compared with the collection's at every call, and the search goes to
    the very collection that was checked: an alias switched meanwhile never mixes two models.

    Args:
        client: A ``QdrantClient``.
        collection: Its name or an alias.
        question: A text.
        embedder: A vectorizer or a remote one, of the model that filled the collection.
        limit: Number of hits, or of groups.
        options: Filters, hybrid search, languages, groups.

    Raises:
        FingerprintMismatchError: The collection holds vectors of another model.
        InvalidDimensionError: The collection holds vectors of another dimension.
        InvalidInputError: The question or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    card = find_metadata(client, collection)
    _check(card, embedder)
    vector = embedder.embed_query(question).vector
    arguments = query_arguments(card, vector, limit, options or SearchOptions())
    call = client.query_points_groups if "group_by" in arguments else client.query_points
    with qdrant_errors(collection):
        answer = call(**arguments)
    return hits_of(answer, card.collection)


async def search_async(
    client: Any,
    collection: str,
    question: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
) -> list[Hit]:
    """As :func:`search`, for an ``AsyncQdrantClient``; the model runs in a thread.

    The client's own local inference would run it on the event loop and stop everything else.
    """
    with qdrant_errors(collection):
        card = parse_metadata(collection, await client.get_collection(collection))
    _check(card, embedder)
    embedding = await asyncio.to_thread(embedder.embed_query, question)
    arguments = query_arguments(card, embedding.vector, limit, options or SearchOptions())
    call = client.query_points_groups if "group_by" in arguments else client.query_points
    with qdrant_errors(collection):
        answer = await call(**arguments)
    return hits_of(answer, card.collection)


def _check(card: CollectionMetadata, embedder: Embedder) -> None:
    card.check(
        fingerprint=embedder.fingerprint, model=embedder.model_name, dimension=embedder.dimension
    )


def _words(document: Document, keywords: KeywordOptions | None) -> dict[str, Any]:
    if keywords is None:
        return {}
    models = import_client().models
    words = models.Document(text=document.text, model=BM25_MODEL, options=keywords.bm25())
    return {KEYWORD_VECTOR: words}
