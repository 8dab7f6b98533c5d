"""``lusifer doctor qdrant``: finds faults in the setup of a Qdrant server."""

from __future__ import annotations

from contextlib import ExitStack

from lusifer.cli import options
from lusifer.cli.common import Command
from lusifer.cli.doctor.output import show_diagnostics
from lusifer.cli.embedders import open_embedder
from lusifer.cli.store_options import connected

__all__ = ["COMMAND", "examine_qdrant"]

_TIMEOUT_S = 30


def examine_qdrant(
    url: options.QdrantUrl,
    collection: options.ServerCollection = None,
    grpc: options.Grpc = False,
    service: options.CheckedService = None,
    bundle: options.Bundle = None,
    as_json: options.Json = False,
) -> None:
    """Check a Qdrant server, its inference and a collection; exit code 1 if there is an error."""
    from lusifer.qdrant.doctor import examine

    with ExitStack() as opened:
        client = opened.enter_context(connected(url, grpc=grpc, timeout_s=_TIMEOUT_S))
        # A service alone needs no model here. If it can't be reached, that is a diagnostic.
        embedder = None
        if bundle is not None or service is None:
            embedder = opened.enter_context(open_embedder(bundle, None))
        diagnostics = examine(client, collection=collection, embedder=embedder, service_url=service)
        show_diagnostics(diagnostics, as_json=as_json)


COMMAND = Command(
    examine_qdrant,
    (
        "lusifer doctor qdrant http://localhost:6333 --collection articles",
        "lusifer doctor qdrant http://localhost:6333 --service http://localhost:8000",
    ),
)
