"""Opens what a plan names: its collections and its model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lusifer.errors import PlanError

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.inspection import Inspection, PlanRequest
    from lusifer.reindex.plan import Model, Plan

__all__ = ["inspect_collection", "open_migration", "open_model"]


def inspect_collection(request: PlanRequest, dimension: int) -> Inspection | None:
    """Read what is there now; None where nothing is and the documents come from a file.

    Args:
        request: What was asked for.
        dimension: Length of the new vectors.

    Raises:
        PlanError: The collection or the server can't be re-embedded as requested.
        StoreError: The collection is not there, or can't be read.
    """
    if request.kind == "embedded":
        from lusifer.reindex.endpoints.embedded import inspection as embedded

        return embedded.inspect_collection(request)
    if request.kind == "qdrant":
        from lusifer.reindex.endpoints.qdrant import inspection as qdrant

        return qdrant.inspect_collection(request)
    from lusifer.reindex.endpoints.weaviate import inspection as weaviate

    return weaviate.inspect_collection(request, dimension)


def open_migration(
    plan: Plan, *, exclusive: bool = False, hold_writes: bool = False
) -> AnyMigration:
    """Open source and target of a plan; nothing is created or changed.

    Args:
        plan: The plan.
        exclusive: Keep the target of the embedded store open between batches: applications can't
            open it, which before the cutover they don't.
        hold_writes: Have Weaviate refuse writes to the source from the last pass to the cutover.

    Raises:
        PlanError: The database can't hold writes.
        StoreError: Source or target can't be opened.
        MissingExtraError: The database's package is not installed.
    """
    if hold_writes and plan.in_place:
        raise PlanError(
            "In place nothing can be missed at the cutover.", next_step="Leave out --hold-writes."
        )
    if plan.target.kind == "embedded":
        from lusifer.reindex.endpoints.embedded import migration as embedded

        return embedded.open_migration(plan, exclusive=exclusive)
    if plan.target.kind == "qdrant":
        if hold_writes:
            raise PlanError(
                "Qdrant can't refuse writes to a single collection.",
                next_step="Have the applications pause deletions during the switch, or re-embed "
                "in place, where nothing can be missed.",
            )
        from lusifer.reindex.endpoints.qdrant import migration as qdrant

        return qdrant.open_migration(plan)
    from lusifer.reindex.endpoints.weaviate import migration as weaviate

    return weaviate.open_migration(plan, hold_writes=hold_writes)


def open_model(model: Model) -> Embedder:
    """Open the model of a plan, in this process or behind a service; the caller closes it.

    Raises:
        LusiferError: It can't be loaded or reached.
    """
    if model.service is not None:
        from lusifer.embedding.remote import RemoteVectorizer

        key = os.environ.get("LUSIFER_API_KEY")
        return RemoteVectorizer(model.service, api_key=key, dimension=model.dimension)
    from lusifer.embedding.vectorizer import Vectorizer

    return Vectorizer.load(model.bundle, dimension=model.dimension, long_text=model.long_text)
