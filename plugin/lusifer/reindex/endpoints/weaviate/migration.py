"""Opens the migration of a plan whose target is on a Weaviate server."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.file import open_file
from lusifer.reindex.endpoints.weaviate.alias import WeaviateAliasCutover
from lusifer.reindex.endpoints.weaviate.collection import WeaviateEndpoint
from lusifer.reindex.endpoints.weaviate.named_vector import (
    WeaviateNamedVectorCutover,
    WeaviateNamedVectorTarget,
)
from lusifer.reindex.endpoints.weaviate.objects import Service
from lusifer.weaviate.connection import client_errors, connect_by_environment
from lusifer.weaviate.metadata import CollectionMetadata, parse_metadata, rules_of
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.text_composition import TextRules

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.weaviate.objects import Content
    from lusifer.reindex.plan import Location, Model, Plan

__all__ = ["open_migration"]


def open_migration(plan: Plan, *, hold_writes: bool = False) -> Migration[Content]:
    """Open source and target of a plan; nothing is created or changed.

    Args:
        plan: The plan.
        hold_writes: Have the server refuse writes to the source from the last pass to the cutover.
    """
    client = connect_by_environment(plan.target.address)
    try:
        if plan.source.kind == "file":
            return _open_file(client, plan)
        with client_errors(plan.source.collection):
            config = client.collections.get(plan.source.collection).config.get()
        if plan.in_place and plan.old_model is not None:
            return _open_named_vector(client, plan, plan.old_model, config)
        return _open_alias(client, plan, config, hold_writes=hold_writes)
    except BaseException:
        client.close()
        raise


def _open_file(client: WeaviateClient, plan: Plan) -> Migration[Content]:
    metadata = _unknown_metadata(plan)
    return Migration(
        open_file(plan, key_of=object_id),
        _target(client, plan, metadata, _unknown_rules(plan)),
        _alias(client, plan, metadata),
        searchable=False,
        release=client.close,
    )


def _open_alias(
    client: WeaviateClient, plan: Plan, config: CollectionConfig, *, hold_writes: bool
) -> Migration[Content]:
    source, metadata, rules = plan.source, _unknown_metadata(plan), _unknown_rules(plan)
    if plan.old_model is not None:
        known = parse_metadata(source.collection, config)
        metadata, rules = _changed(known, plan.target, plan.model), rules_of(known, config)
    old = WeaviateEndpoint(
        client,
        source.collection,
        source.vector_name,
        rules=rules,
        language_field=plan.language_field,
    )
    return Migration(
        old,
        _target(client, plan, metadata, rules),
        _alias(client, plan, metadata),
        write_freeze=old.frozen if hold_writes else nullcontext,
        release=client.close,
    )


def _open_named_vector(
    client: WeaviateClient, plan: Plan, old_model: Model, config: CollectionConfig
) -> Migration[Content]:
    source, target = plan.source, plan.target
    # After the cutover, the collection's metadata is that of the new vector.
    before = _changed(parse_metadata(source.collection, config), source, old_model)
    rules = rules_of(before, config)
    cutover = WeaviateNamedVectorCutover(
        client,
        Service(plan.service_address, plan.service_dimension),
        source=before,
        target=_changed(before, target, plan.model),
    )
    return Migration(
        WeaviateEndpoint(
            client,
            source.collection,
            source.vector_name,
            rules=rules,
            language_field=plan.language_field,
        ),
        WeaviateNamedVectorTarget(
            client,
            target.collection,
            target.vector_name,
            rules=rules,
            in_use=cutover.is_live,
            language_field=plan.language_field,
        ),
        cutover,
        in_place=True,
        release=client.close,
    )


def _target(
    client: WeaviateClient, plan: Plan, metadata: CollectionMetadata, rules: TextRules
) -> WeaviateEndpoint:
    return WeaviateEndpoint(
        client,
        plan.target.collection,
        plan.target.vector_name,
        rules=rules,
        language_field=plan.language_field,
        text_property=metadata.text_property,
    )


def _alias(
    client: WeaviateClient, plan: Plan, metadata: CollectionMetadata
) -> WeaviateAliasCutover:
    return WeaviateAliasCutover(
        client,
        alias=plan.alias,
        source=plan.shown_before,
        target=plan.target.collection,
        metadata=metadata,
        template=None if plan.source.kind == "file" else plan.source.collection,
        replaced_vector=plan.source.vector_name,
        service=Service(plan.service_address, plan.service_dimension),
    )


def _unknown_metadata(plan: Plan) -> CollectionMetadata:
    """Return metadata of the target for documents of a file or of an unknown model."""
    return CollectionMetadata(
        collection=plan.target.collection,
        fingerprint=plan.model.fingerprint,
        model=plan.model.name,
        dimension=plan.model.dimension,
        vector_name=plan.target.vector_name,
        text_property=plan.source.text_field,
    )


def _unknown_rules(plan: Plan) -> TextRules:
    return TextRules(collection=plan.target.collection, source_properties=(plan.source.text_field,))


def _changed(metadata: CollectionMetadata, place: Location, model: Model) -> CollectionMetadata:
    """Return a collection's metadata with another vector and model."""
    return metadata.model_copy(
        update={
            "collection": place.collection,
            "vector_name": place.vector_name,
            "fingerprint": model.fingerprint,
            "model": model.name,
            "dimension": model.dimension,
        }
    )
