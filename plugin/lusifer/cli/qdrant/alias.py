"""``lusifer qdrant alias``: points an alias to a collection, on a server or in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.store_options import check_one_place, connected
from lusifer.errors import CollectionMismatchError

if TYPE_CHECKING:
    from lusifer.stores.base import Store

__all__ = ["COMMAND", "set_alias"]


def set_alias(
    alias: Annotated[str, typer.Option(metavar="NAME")],
    collection: Annotated[str, typer.Option(metavar="NAME")],
    url: options.OptionalQdrantUrl = None,
    index_path: options.CollectionsFolder = None,
    grpc: options.Grpc = False,
    as_json: options.Json = False,
) -> None:
    """Set the collection of an alias, atomically: a search sees the old one or the new one.

    A collection that is empty or has points without a vector is refused.

    Options:
        alias: Name that applications use.
        collection: Collection that the alias points to from now on.
    """
    check_one_place(url, index_path)
    if index_path is not None:
        from lusifer.embedded.collections import EmbeddedCollections

        collections = EmbeddedCollections(index_path)
        with collections.open(collection) as store:
            _check_complete(store, collection)
        collections.set_alias(alias, collection)
    else:
        from lusifer.qdrant import schema
        from lusifer.qdrant.metadata import find_metadata
        from lusifer.qdrant.store import QdrantStore

        with connected(url or "", grpc=grpc) as client:
            metadata, _ = find_metadata(client, collection)
            _check_complete(QdrantStore(client, metadata), collection)
            schema.set_alias(client, alias, collection)
    if as_json:
        write_json({"alias": alias, "collection": collection})
    else:
        show(f"The alias {alias} points to {collection}.\n")


COMMAND = Command(
    set_alias,
    (
        "lusifer qdrant alias http://localhost:6333 --alias news --collection news-2",
        "lusifer qdrant alias --index ./database --alias news --collection news-2",
    ),
)


def _check_complete(store: Store, collection: str) -> None:
    documents, lacking = store.count(), store.count_without_vector()
    if not documents or lacking:
        raise CollectionMismatchError(
            f"{lacking:,} of the {documents:,} documents of {collection} have no vector."
            if documents
            else f"The collection {collection} is empty.",
            next_step="Index its documents first.",
        )
