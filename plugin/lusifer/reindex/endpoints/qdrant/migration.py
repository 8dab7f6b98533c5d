"""Opens the migration of a plan whose target is on a Qdrant server."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lusifer.errors import CollectionMismatchError
from lusifer.qdrant.connection import client_errors, connect_by_environment
from lusifer.qdrant.inference import advise_on_inference
from lusifer.qdrant.metadata import CollectionMetadata, parse_metadata
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.file import open_file
from lusifer.reindex.endpoints.qdrant.alias import QdrantAliasCutover
from lusifer.reindex.endpoints.qdrant.collection import QdrantEndpoint
from lusifer.reindex.endpoints.qdrant.named_vector import (
    QdrantNamedVectorCutover,
    QdrantNamedVectorTarget,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.reindex.endpoints.base import Cutover
    from lusifer.reindex.endpoints.qdrant.points import Content
    from lusifer.reindex.plan import Location, Model, Plan

__all__ = ["open_migration"]


def open_migration(plan: Plan) -> Migration[Content]:
    """Open source and target of a plan; nothing is created or changed."""
    client = connect_by_environment(plan.target.address, grpc=plan.target.grpc)
    try:
        if plan.in_place and plan.old_model is not None:
            return _open_named_vector(client, plan, plan.old_model)
        return _open_alias(client, plan)
    except BaseException:
        client.close()
        raise


def _open_named_vector(client: QdrantClient, plan: Plan, old_model: Model) -> Migration[Content]:
    source, target = plan.source, plan.target
    keywords, _ = _read_template(client, plan, target.collection)
    cutover = QdrantNamedVectorCutover(
        client,
        source=_metadata(source, old_model, keywords),
        target=_metadata(target, plan.model, keywords),
    )
    return Migration(
        replace(_endpoint(client, plan, source), only_lacking=target.vector_name),
        QdrantNamedVectorTarget(
            client, target.collection, target.vector_name, target.rules, plan.language_field
        ),
        cutover,
        in_place=True,
        advise=partial(_advise, client, plan, cutover),
        release=client.close,
    )


def _open_alias(client: QdrantClient, plan: Plan) -> Migration[Content]:
    source, target = plan.source, plan.target
    from_file = source.kind == "file"
    template = target.collection if from_file else source.collection
    keywords, copied_vectors = _read_template(client, plan, template)
    new = replace(_endpoint(client, plan, target), keywords=keywords)
    cutover = QdrantAliasCutover(
        client,
        alias=plan.alias,
        source=plan.shown_before,
        target=target.collection,
        metadata=_metadata(target, plan.model, keywords),
        template=None if from_file else source.collection,
        replaced_vector=source.vector_name,
    )
    advise = partial(_advise, client, plan, cutover)
    if from_file:
        return Migration(
            open_file(plan), new, cutover, searchable=False, advise=advise, release=client.close
        )
    old = replace(_endpoint(client, plan, source), copied_vectors=copied_vectors)
    return Migration(old, new, cutover, advise=advise, release=client.close)


def _advise(client: QdrantClient, plan: Plan, cutover: Cutover) -> list[str]:
    """Check the server's inference with the model whose vectors applications see now."""
    live = cutover.is_live()
    place, model = (plan.target, plan.model) if live else (plan.source, plan.old_model)
    if model is None or place.kind == "file":
        return []
    return advise_on_inference(client, _metadata(place, model, None))


def _endpoint(client: QdrantClient, plan: Plan, place: Location) -> QdrantEndpoint:
    return QdrantEndpoint(
        client, place.collection, place.vector_name, place.rules, plan.language_field
    )


def _read_template(
    client: QdrantClient, plan: Plan, collection: str
) -> tuple[KeywordOptions | None, list[str]]:
    """Return keyword options of a collection, and the names of vectors that a copy takes along."""
    with client_errors(collection):
        if not client.collection_exists(collection):
            return None, []
        info = client.get_collection(collection)
    vectors = info.config.params.vectors
    dense = set(vectors) if isinstance(vectors, dict) else set()
    others = dense | set(info.config.params.sparse_vectors or {})
    copied = sorted(others - {plan.source.vector_name, plan.target.vector_name})
    return _keywords(collection, info), copied


def _keywords(collection: str, info: models.CollectionInfo) -> KeywordOptions | None:
    try:
        return parse_metadata(collection, info).keywords
    except CollectionMismatchError:
        # It was not made for LUSIFER; its documents can be read all the same.
        return None


def _metadata(place: Location, model: Model, keywords: KeywordOptions | None) -> CollectionMetadata:
    return CollectionMetadata(
        collection=place.collection,
        vector_name=place.vector_name,
        keywords=keywords,
        text_field=place.text_field,
        template=place.template,
        fingerprint=model.fingerprint,
        model=model.name,
        dimension=model.dimension,
        role_prompts=model.role_prompts,
    )
