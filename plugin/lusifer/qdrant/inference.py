"""What a Qdrant server's own inference service makes of a query for a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.bundle.names import exact_name
from lusifer.errors import LusiferError
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.stores.diagnostics import PROBE_QUERY

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from lusifer.qdrant.metadata import CollectionMetadata

__all__ = ["NOT_CONFIGURED", "advise_on_inference"]

NOT_CONFIGURED = "not configured"
"""In the message of a server without an inference service."""


def advise_on_inference(client: QdrantClient, metadata: CollectionMetadata) -> list[str]:
    """Have a query embedded by the server, and say what requests and its settings must name.

    A server has one inference service for all collections. The query names the model with its
    fingerprint, so a service of another model refuses it.

    Args:
        client: Its client.
        metadata: The collection that applications ask from now on.

    Returns:
        Sentences; none where the server has no inference service, so that applications embed.
    """
    models = import_client().models
    model = exact_name(metadata.model, metadata.fingerprint)
    query = models.Document(
        text=PROBE_QUERY, model=model, options={"dimensions": metadata.dimension}
    )
    named = f"models.Document(text, model={model!r})"
    try:
        with client_errors(metadata.collection):
            client.query_points(
                metadata.collection, query=query, using=metadata.vector_name, limit=1
            )
    except LusiferError as failed:
        if NOT_CONFIGURED in failed.message:
            return []
        return [
            f"Qdrant's inference does not make vectors of {model}: {failed.message}",
            "Set QDRANT__INFERENCE__ADDRESS to a service of this model, restart Qdrant, and write "
            f"{named}.",
        ]
    return [f"Qdrant's inference makes vectors of {model}: write {named}."]
