"""Search a Weaviate collection by a vector made here, or through the server's own module."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lusifer.common.validation import check_text
from lusifer.stores.metadata import identity_of
from lusifer.types import Hit, SearchOptions
from lusifer.weaviate.metadata import find_metadata, open_metadata
from lusifer.weaviate.queries import find

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.collections import Collection

    from lusifer.embedding.base import Embedder

__all__ = ["ask_server", "search"]


def search(
    client: WeaviateClient,
    collection: str,
    query: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
    tenant: str | None = None,
) -> list[Hit]:
    """Search a collection with a text in any language and a vector made here.

    Fingerprint and dimension of the model are compared with the collection's at every call. The
    search goes to the very collection that was checked, so an alias switched meanwhile never mixes
    two models.

    Args:
        client: A connected ``WeaviateClient``.
        collection: The collection's name or an alias.
        query: Text to search for.
        embedder: A vectorizer or a remote one, of the model that filled the collection.
        limit: Number of hits, or of groups.
        options: Filters, hybrid search, languages, groups.
        tenant: Name of the tenant, for a collection with tenants.

    Raises:
        FingerprintMismatchError: The collection holds vectors of another model.
        InvalidDimensionError: The collection holds vectors of another dimension.
        InvalidInputError: The text or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    metadata, config = open_metadata(client, collection, **identity_of(embedder))
    handle = _handle(client, metadata.collection, tenant)
    vector = embedder.embed_query(query).vector
    return find(handle, config, metadata, vector, limit, options or SearchOptions())


def ask_server(
    client: WeaviateClient,
    collection: str,
    query: str,
    *,
    limit: int = 10,
    hybrid: bool = False,
    options: SearchOptions | None = None,
    tenant: str | None = None,
) -> list[Hit]:
    """Search a collection through the server, which has the text embedded by its module.

    No model is needed here, so none is compared with the collection's; ``lusifer doctor weaviate``
    compares them.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Name or alias of a collection that was made for LUSIFER.
        query: Text to search for, in any language.
        limit: Number of hits, or of groups.
        hybrid: Search by the words of the text too; other words go into ``options.keywords``.
        options: Filters, languages, groups.
        tenant: Name of the tenant, for a collection with tenants.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The collection was not made for LUSIFER, or its module is off.
        StoreBusyError: The service asks to slow down.
        StoreUnavailableError: The server or the service behind its module does not answer.
        InvalidInputError: The text or an option can't be used.
    """
    options = options or SearchOptions()
    if hybrid and options.keywords is None:
        options = replace(options, keywords=query)
    check_text(query)
    metadata, config = find_metadata(client, collection)
    handle = _handle(client, metadata.collection, tenant)
    return find(handle, config, metadata, query, limit, options)


def _handle(client: WeaviateClient, collection: str, tenant: str | None) -> Collection:
    handle = client.collections.get(collection)
    return handle if tenant is None else handle.with_tenant(tenant)
