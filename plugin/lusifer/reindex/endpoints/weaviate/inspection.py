"""Inspects a Weaviate server and a collection of it before it is re-embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import CollectionMismatchError, PlanError
from lusifer.reindex.endpoints.weaviate.objects import Service
from lusifer.reindex.endpoints.weaviate.schema_copy import (
    Replacement,
    check_copyable,
    module_name,
    source_uses,
)
from lusifer.reindex.endpoints.weaviate.tenants import ACTIVE, INACTIVE, tenant_statuses
from lusifer.reindex.inspection import Inspection, unknown_model
from lusifer.reindex.plan import Model
from lusifer.stores import diagnostics
from lusifer.stores.diagnostics import version_numbers
from lusifer.weaviate.connection import client_errors, connect_by_environment
from lusifer.weaviate.metadata import parse_metadata
from lusifer.weaviate.refusals import not_found
from lusifer.weaviate.rest import rest_by_environment
from lusifer.weaviate.schema import version_warnings
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.weaviate.schema_copy import Schema
    from lusifer.reindex.inspection import PlanRequest
    from lusifer.stores.diagnostics import Diagnostic
    from lusifer.weaviate.rest import RestApi

__all__ = ["check_version", "inspect_collection"]


def inspect_collection(request: PlanRequest, dimension: int) -> Inspection | None:
    """Read what a collection or alias holds; None without one, for a file's documents.

    Args:
        request: What was asked for.
        dimension: Length of the new vectors.

    Raises:
        PlanError: The server is too old, would embed the new vector with the old model, or can't
            hold a copy of the collection as it is.
        CollectionMismatchError: The collection has no metadata of ours, and several vectors, or is
            to be re-embedded in place.
        StoreError: There is no such collection, or it can't be read.
    """
    client = connect_by_environment(request.address)
    rest = rest_by_environment(request.address)
    try:
        with client_errors(request.name):
            version = str(client.get_meta()["version"])
            handle = client.collections.get(request.name)
            if not handle.exists():
                if request.file:
                    return None
                raise not_found(request.name)
            config = handle.config.get()
        notes = check_version(version, in_place=request.in_place)
        if request.file:
            # The documents come from elsewhere; only what the name means now is of interest.
            return Inspection(config.name, config.name != request.name, "", None, (), tuple(notes))
        return _inspect(request, config, rest, notes, dimension)
    finally:
        client.close()
        rest.close()


def check_version(version: str, *, in_place: bool) -> list[Diagnostic]:
    """Report what a version of Weaviate means for re-embedding.

    Raises:
        PlanError: It lacks an operation that is needed.
    """
    if in_place and version_numbers(version) < (1, 31):
        raise PlanError(
            f"Weaviate {version} can't add a named vector, which came with 1.31.",
            next_step="Upgrade Weaviate first, or leave out --in-place.",
        )
    return [
        diagnostics.warning("Weaviate", each, "Upgrade Weaviate.")
        for each in version_warnings(version)
    ]


def _inspect(
    request: PlanRequest,
    config: CollectionConfig,
    rest: RestApi,
    notes: list[Diagnostic],
    dimension: int,
) -> Inspection:
    schema = rest.get(f"/schema/{config.name}", config.name)
    names = tuple(schema.get("vectorConfig") or {})
    old_model: Model | None = None
    try:
        metadata = parse_metadata(config.name, config)
    except CollectionMismatchError as error:
        if request.in_place or len(names) > 1:
            raise
        vector_name = names[0] if names and not schema.get("vectorIndexType") else ""
        notes.append(unknown_model(error))
        _check_text_field(schema, request.text_field or "text")
    else:
        vector_name = metadata.vector_name
        old_model = Model(
            name=metadata.model, fingerprint=metadata.fingerprint, dimension=metadata.dimension
        )
    if module_name(schema, vector_name) != "none" and request.service_address is None:
        if request.in_place:
            raise PlanError(
                f"Weaviate embeds what is written to {config.name}, and would embed the new vector "
                "with the old model.",
                next_step="Serve the new model and name it with --service-address.",
            )
        notes.append(
            diagnostics.note(
                "service",
                "Weaviate will request vectors of the new collection from the same address as "
                "before.",
                "Serve the new model at another address and name it with --service-address.",
            )
        )
    service = Service(request.service_address, request.dimension)
    replacement = Replacement(vector_name, request.vector_name or "", service, "")
    notes += check_copyable(schema, replacement, dimension, in_place=request.in_place)
    if not request.in_place:
        notes += [
            diagnostics.warning(
                "references",
                each,
                "It goes on naming the old collection after the switch. Change it before clean, "
                "which refuses otherwise.",
            )
            for each in source_uses(rest, config.name, request.name)
        ]
    skipped = _skipped_tenants(request, schema, rest, notes)
    return Inspection(
        config.name,
        config.name != request.name,
        vector_name,
        old_model,
        names,
        tuple(notes),
        skipped_tenants=skipped,
    )


def _check_text_field(schema: Schema, text_field: str) -> None:
    """Refuse a text field that a collection of somebody else does not have.

    Raises:
        PlanError: There is no such property, or it holds no text.
    """
    kinds = {each["name"]: each["dataType"][0] for each in schema.get("properties") or ()}
    if kinds.get(property_name(text_field)) not in {"text", "text[]"}:
        texts = sorted(name for name, kind in kinds.items() if kind in {"text", "text[]"})
        raise PlanError(
            f"{schema['class']} has no text property {text_field!r}; its text properties are: "
            f"{', '.join(texts) or 'none'}.",
            next_step="Name the one to embed with --text-field.",
        )


def _skipped_tenants(
    request: PlanRequest, schema: Schema, rest: RestApi, notes: list[Diagnostic]
) -> tuple[str, ...]:
    """Return the tenants to leave out; report what happens to those that are not active.

    Raises:
        PlanError: A tenant can't be made active here, and is not to be left out.
    """
    if not (schema.get("multiTenancyConfig") or {}).get("enabled"):
        return ()
    statuses = tenant_statuses(rest, schema["class"])
    asleep = sorted(name for name, each in statuses.items() if each != ACTIVE)
    if not asleep:
        return ()
    if request.skip_inactive_tenants:
        notes.append(
            diagnostics.warning(
                "tenants",
                f"{len(asleep):,} of {len(statuses):,} tenants are not active and are left out; "
                f"the first is {asleep[0]}.",
                "Their documents are in the old collection only, and clean refuses to delete it.",
            )
        )
        return tuple(asleep)
    if away := [name for name in asleep if statuses[name] != INACTIVE]:
        raise PlanError(
            f"{len(away):,} tenants are offloaded or about to change; the first is {away[0]} "
            f"({statuses[away[0]]}).",
            next_step="Make them active first, or leave them out with --skip-inactive-tenants.",
        )
    notes.append(
        diagnostics.note(
            "tenants",
            f"{len(asleep):,} of {len(statuses):,} tenants are inactive. Each is made active while "
            "it is read or written, then inactive again.",
            "Leave them out with --skip-inactive-tenants.",
        )
    )
    return ()
