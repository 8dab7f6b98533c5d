"""``lusifer delete``: deletes documents from an index or a collection."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import EXIT_ERROR, Command, show, write_json
from lusifer.cli.store_options import StoreOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMAND", "delete"]


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    index_path: options.Index = options.DEFAULT_INDEX,
    qdrant: options.Qdrant = None,
    weaviate: options.Weaviate = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    grpc: options.Grpc = False,
    as_json: options.Json = False,
) -> None:
    """Delete documents by their ids, with all parts of those that were split.

    The exit code is 1 if one of them does not exist. No model is loaded.

    Options:
        ids: Ids of documents; - reads them from standard input, one a line.
    """
    from lusifer.stores.parts import delete_documents

    target = StoreOptions(index_path, qdrant, weaviate, collection, tenant, grpc=grpc)
    target.stored()
    given = list(dict.fromkeys(_lines() if ids == ["-"] else ids))
    with target.open_stored() as store:
        deleted = delete_documents(store, given)
        count = store.count()
    missing = len(given) - deleted
    if as_json:
        write_json({"deleted": deleted, "missing": missing, "index": target.name, "count": count})
    else:
        show(f"{deleted:,} of {len(given):,} documents deleted\n")
        show(f"{count:,} documents in {target.name}\n")
    if missing:
        raise typer.Exit(EXIT_ERROR)


COMMAND = Command(
    delete,
    (
        "lusifer delete article-17 article-18 --index ./articles",
        "lusifer delete - --qdrant http://localhost:6333 --collection news < ids.txt",
    ),
)


def _lines() -> Iterator[str]:
    """Yield the ids of standard input."""
    return (line for each in sys.stdin if (line := each.rstrip("\r\n")))
