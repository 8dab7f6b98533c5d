"""Inspects a Weaviate server and a collection of it before it is re-embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import CollectionMismatchError, PlanError
from lusifer.reindex.inspection import Inspection, unknown_model
from lusifer.reindex.plan import Model
from lusifer.stores import diagnostics
from lusifer.stores.diagnostics import version_numbers
from lusifer.weaviate.connection import client_errors, connect_by_environment
from lusifer.weaviate.metadata import module_of, parse_metadata
from lusifer.weaviate.refusals import not_found
from lusifer.weaviate.schema import version_warnings

if TYPE_CHECKING:
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.inspection import PlanRequest
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["check_version", "inspect_collection"]


def inspect_collection(request: PlanRequest) -> Inspection | None:
    """Read what a collection or alias holds; None without one, for a file's documents.

    Raises:
        PlanError: The server is too old, or would embed the new vector with the old model.
        CollectionMismatchError: The collection has no metadata of ours, and several vectors, or is
            to be re-embedded in place.
        StoreError: There is no such collection, or it can't be read.
    """
    client = connect_by_environment(request.address)
    try:
        with client_errors(request.name):
            version = str(client.get_meta()["version"])
            handle = client.collections.get(request.name)
            if not handle.exists():
                if request.file:
                    return None
                raise not_found(request.name)
            config = handle.config.get()
    finally:
        client.close()
    return _inspect(request, config, check_version(version, in_place=request.in_place))


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


def _inspect(request: PlanRequest, config: CollectionConfig, notes: list[Diagnostic]) -> Inspection:
    names = tuple(config.vector_config or {})
    is_alias = config.name != request.name
    try:
        metadata = parse_metadata(config.name, config)
    except CollectionMismatchError as error:
        if request.in_place or len(names) != 1:
            raise
        known = (*notes, unknown_model(error))
        return Inspection(config.name, is_alias, names[0], None, names, known)
    if module_of(config, metadata.vector_name) != "none" and request.service_address is None:
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
    old_model = Model(
        name=metadata.model, fingerprint=metadata.fingerprint, dimension=metadata.dimension
    )
    vector_name = metadata.vector_name
    return Inspection(config.name, is_alias, vector_name, old_model, names, tuple(notes))
