"""``lusifer doctor weaviate``: finds faults in the setup of a Weaviate server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command
from lusifer.cli.doctor.output import show_diagnostics
from lusifer.cli.embedders import open_embedder
from lusifer.cli.store_options import StoreOptions
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["COMMAND", "examine_weaviate"]


def examine_weaviate(
    url: options.WeaviateUrl,
    collection: options.ServerCollection = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    service: options.CheckedService = None,
    bundle: options.Bundle = None,
    as_json: options.Json = False,
) -> None:
    """Check a Weaviate server, its module and a collection; exit code 1 if there is an error.

    Options:
        tenant: Tenant of the collection to check.
    """
    stored = None
    if collection is not None:
        # A fault of the collection is among the diagnostics.
        with suppress(LusiferError):
            stored = StoreOptions(
                options.DEFAULT_INDEX, weaviate=url, collection=collection
            ).stored()
    with open_embedder(bundle, service if bundle is None else None, stored=stored) as embedder:
        show_diagnostics(_diagnostics(url, collection, tenant, embedder, service), as_json=as_json)


COMMAND = Command(
    examine_weaviate, ("lusifer doctor weaviate http://localhost:8080 --collection Articles",)
)


def _diagnostics(
    url: str, collection: str | None, tenant: str | None, embedder: Embedder, service: str | None
) -> Iterator[Diagnostic]:
    from lusifer.stores.diagnostics import error
    from lusifer.weaviate.connection import connect_by_environment
    from lusifer.weaviate.doctor import examine

    try:
        client = connect_by_environment(url)
    except LusiferError as failed:
        yield error("server", failed.message, failed.next_step)
        return
    with client:
        yield from examine(
            client, collection=collection, tenant=tenant, embedder=embedder, service_url=service
        )
