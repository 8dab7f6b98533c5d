"""Build points and search with your own client.

These functions take the client that the application has anyway, sync or async. They are for vectors
made here, by a bundle or a service. A server that embeds by itself needs none of this: send
``models.Document``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.metadata import open_metadata, parse_metadata
from lusifer.qdrant.points import keyword_vector, payload_of
from lusifer.qdrant.queries import (
    find,
    hits_of,
    metadata_of,
    query_arguments,
    question_arguments,
)
from lusifer.stores.conditions import check_fields, needs_check
from lusifer.stores.metadata import identity_of
from lusifer.stores.payloads import VECTOR_NAME, document_uuid
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client import AsyncQdrantClient, QdrantClient, models

    from lusifer.embedding.base import Embedder
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import Document, Hit, Role

__all__ = [
    "embed_async",
    "points",
    "points_async",
    "search",
    "search_async",
    "server_points",
]


def points(
    documents: Sequence[Document], embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> list[models.PointStruct]:
    """Return ``PointStruct`` of N documents with vectors made here, ready for ``client.upsert``.

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
            vector={VECTOR_NAME: embedding.vector.tolist(), **keyword_vector(document, keywords)},
            payload=payload,
        )
        for document, payload, embedding in zip(documents, payloads, embedded, strict=True)
    ]


async def points_async(
    documents: Sequence[Document], embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> list[models.PointStruct]:
    """Return what :func:`points` does, with the model in a thread: the event loop stays free."""
    return await asyncio.to_thread(points, documents, embedder, keywords=keywords)


async def embed_async(texts: Sequence[str], role: Role, embedder: Embedder) -> NDArray[np.float32]:
    """Return vectors ``(N, D)`` for points of your own, with the model in a thread.

    Without an event loop: ``embedder.embed_documents(texts).vectors``.

    Raises:
        InvalidInputError: A text can't be embedded.
        EngineError: The engine can't run.
    """
    embed = embedder.embed_queries if role == "query" else embedder.embed_documents
    return (await asyncio.to_thread(embed, texts)).vectors


def server_points(
    documents: Sequence[Document], model: str, *, keywords: KeywordOptions | None = None
) -> list[models.PointStruct]:
    """Return ``PointStruct`` of N documents that the server has embedded by its inference service.

    Args:
        documents: What to store.
        model: The service's name for the model, such as ``lusifer/lusifer-small@8e3625e6``. With
            the fingerprint, a service of another model refuses the documents.
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
                **keyword_vector(document, keywords),
            },
            payload=payload_of(document),
        )
        for document in documents
    ]


def search(
    client: QdrantClient,
    collection: str,
    query: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
) -> list[Hit]:
    """Search a collection with a query in any language.

    The model's fingerprint is compared with the collection's at every call. The search goes to the
    very collection that was checked: an alias switched meanwhile never mixes two models.

    Args:
        client: A ``QdrantClient``.
        collection: Its name or an alias.
        query: A text.
        embedder: A vectorizer or a remote one, of the model that filled the collection.
        limit: Hits, or groups, at most.
        options: Filters, hybrid search, languages, groups.

    Raises:
        FingerprintMismatchError: The collection holds vectors of another model.
        InvalidDimensionError: The collection holds vectors of another dimension.
        InvalidInputError: The query or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    metadata, _ = open_metadata(client, collection, **identity_of(embedder))
    vector = embedder.embed_query(query).vector
    return find(client, metadata, vector, limit, options or SearchOptions())


async def search_async(
    client: AsyncQdrantClient,
    collection: str,
    query: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
) -> list[Hit]:
    """Search as :func:`search` does, for an ``AsyncQdrantClient``; the model runs in a thread.

    The client's own local inference would run it on the event loop and stop everything else.
    """
    with client_errors(collection):
        metadata = parse_metadata(collection, await client.get_collection(collection))
    metadata.check(**identity_of(embedder))
    embedding = await asyncio.to_thread(embedder.embed_query, query)
    options = options or SearchOptions()
    arguments = query_arguments(metadata, embedding.vector, limit, options)
    call = client.query_points_groups if "group_by" in arguments else client.query_points
    with client_errors(collection):
        hits = hits_of(await call(**arguments), metadata)
        if needs_check(options, found=bool(hits)):
            questions = check_fields(options)
            question = next(questions, None)
            while question is not None:
                scrolled = client.scroll(**question_arguments(metadata.collection, question))
                try:
                    question = questions.send(metadata_of(await scrolled))
                except StopIteration:
                    break
    return hits
