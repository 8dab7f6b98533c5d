"""Opens the migration of a plan whose target is on a Weaviate server."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
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
from lusifer.reindex.endpoints.weaviate.schema_copy import (
    Replacement,
    has_other_vectors,
    module_name,
)
from lusifer.reindex.endpoints.weaviate.tenants import Tenants, has_tenants
from lusifer.weaviate.connection import client_errors, connect_by_environment
from lusifer.weaviate.metadata import CollectionMetadata, parse_metadata, rules_of
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.rest import rest_by_environment
from lusifer.weaviate.text_composition import TextRules

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.weaviate.objects import Content
    from lusifer.reindex.plan import Location, Model, Plan
    from lusifer.weaviate.rest import RestApi

__all__ = ["open_migration"]


def open_migration(plan: Plan, *, hold_writes: bool = False) -> Migration[Content]:
    """Open source and target of a plan; nothing is created or changed.

    Args:
        plan: The plan.
        hold_writes: Have the server refuse writes to the source from the last pass to the cutover.
    """
    client = connect_by_environment(plan.target.address)
    server = _Server(client, rest_by_environment(plan.target.address))
    try:
        if plan.source.kind == "file":
            return _open_file(server, plan)
        with client_errors(plan.source.collection):
            config = client.collections.get(plan.source.collection).config.get()
        if plan.in_place and plan.old_model is not None:
            return _open_named_vector(server, plan, plan.old_model, config)
        return _open_alias(server, plan, config, hold_writes=hold_writes)
    except BaseException:
        server.close()
        raise


@dataclass(frozen=True)
class _Server:
    client: WeaviateClient
    rest: RestApi

    def close(self) -> None:
        self.client.close()
        self.rest.close()


def _open_file(server: _Server, plan: Plan) -> Migration[Content]:
    metadata = _unknown_metadata(plan)
    return Migration(
        open_file(plan, key_of=object_id),
        _target(server, plan, metadata, _unknown_rules(plan), embeds=True),
        _alias(server, plan, metadata, None),
        searchable=False,
        release=server.close,
    )


def _open_alias(
    server: _Server, plan: Plan, config: CollectionConfig, *, hold_writes: bool
) -> Migration[Content]:
    source, metadata, rules = plan.source, _unknown_metadata(plan), _unknown_rules(plan)
    if plan.old_model is not None:
        known = parse_metadata(source.collection, config)
        metadata, rules = _changed(known, plan.target, plan.model), rules_of(known, config)
    tenants = Tenants(server.rest, source.collection, plan.skipped_tenants)
    schema = server.rest.get(f"/schema/{source.collection}", source.collection)
    old = WeaviateEndpoint(
        server.client,
        server.rest,
        tenants,
        source.vector_name,
        rules=rules,
        language_field=plan.language_field,
        copies_vectors=has_other_vectors(schema, source.vector_name),
        drops_dangling=has_tenants(server.rest, source.collection),
    )
    embeds = module_name(schema, source.vector_name) != "none"
    return Migration(
        old,
        _target(server, plan, metadata, rules, embeds=embeds, template=source.collection),
        _alias(server, plan, metadata, tenants),
        write_freeze=old.frozen if hold_writes else nullcontext,
        # A target that a killed process left read-only would keep the next switch from copying.
        source_hold=old.frozen,
        release=server.close,
    )


def _open_named_vector(
    server: _Server, plan: Plan, old_model: Model, config: CollectionConfig
) -> Migration[Content]:
    source, target = plan.source, plan.target
    # After the cutover, the collection's metadata is that of the new vector.
    before = _changed(parse_metadata(source.collection, config), source, old_model)
    rules = rules_of(before, config)
    cutover = WeaviateNamedVectorCutover(
        server.client,
        server.rest,
        Service(plan.service_address, plan.service_dimension),
        source=before,
        target=_changed(before, target, plan.model),
    )
    tenants = Tenants(server.rest, source.collection, plan.skipped_tenants)
    return Migration(
        WeaviateEndpoint(
            server.client,
            server.rest,
            tenants,
            source.vector_name,
            rules=rules,
            language_field=plan.language_field,
        ),
        WeaviateNamedVectorTarget(
            server.client,
            server.rest,
            tenants,
            target.vector_name,
            rules=rules,
            in_use=cutover.is_live,
            language_field=plan.language_field,
        ),
        cutover,
        in_place=True,
        release=server.close,
    )


def _target(
    server: _Server,
    plan: Plan,
    metadata: CollectionMetadata,
    rules: TextRules,
    *,
    embeds: bool,
    template: str | None = None,
) -> WeaviateEndpoint:
    return WeaviateEndpoint(
        server.client,
        server.rest,
        Tenants(server.rest, plan.target.collection, plan.skipped_tenants),
        plan.target.vector_name,
        rules=rules,
        language_field=plan.language_field,
        text_property=metadata.text_property,
        template=template,
        placeholder=[0.0] * plan.model.dimension if embeds else (),
    )


def _alias(
    server: _Server, plan: Plan, metadata: CollectionMetadata, template: Tenants | None
) -> WeaviateAliasCutover:
    return WeaviateAliasCutover(
        server.client,
        server.rest,
        alias=plan.alias,
        source=plan.shown_before,
        target=plan.target.collection,
        metadata=metadata,
        template=template,
        replacement=Replacement(
            old=plan.source.vector_name,
            new=plan.target.vector_name,
            service=Service(plan.service_address, plan.service_dimension),
            model=plan.model.name,
            source_properties=() if plan.old_model else (metadata.text_property,),
        ),
    )


def _unknown_metadata(plan: Plan) -> CollectionMetadata:
    """Return metadata of the target for documents of a file or of an unknown model."""
    return CollectionMetadata(
        collection=plan.target.collection,
        fingerprint=plan.model.fingerprint,
        model=plan.model.name,
        dimension=plan.model.dimension,
        vector_name=plan.target.vector_name,
        text_property=plan.source.rules.property_name,
    )


def _unknown_rules(plan: Plan) -> TextRules:
    name = plan.source.rules.property_name
    return TextRules(collection=plan.target.collection, source_properties=(name,))


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
