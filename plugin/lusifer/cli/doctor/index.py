"""``lusifer doctor index``: finds faults of an index folder."""

from __future__ import annotations

from contextlib import closing

from lusifer.cli import options
from lusifer.cli.common import Command
from lusifer.cli.doctor.output import show_diagnostics
from lusifer.cli.embedders import open_embedder
from lusifer.cli.store_options import StoreOptions

__all__ = ["COMMAND", "examine_index"]


def examine_index(
    index_path: options.Index = options.DEFAULT_INDEX,
    collection: options.Collection = None,
    bundle: options.Bundle = None,
    service: options.Service = None,
    as_json: options.Json = False,
) -> None:
    """Check an index folder: vectors and hubs; exit code 1 if there is an error."""
    from lusifer.embedded.doctor import examine
    from lusifer.embedded.store import EmbeddedStore

    store = StoreOptions(index_path, collection=collection)
    stored = store.stored()
    with (
        open_embedder(bundle, service, stored=stored) as embedder,
        closing(EmbeddedStore.open(store.folder or index_path)) as opened,
    ):
        show_diagnostics(examine(opened, embedder), as_json=as_json)


COMMAND = Command(
    examine_index,
    ("lusifer doctor index", "lusifer doctor index --index DIR --collection articles"),
)
