"""Inspects a Qdrant server and a collection of it before it is re-embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import CollectionMismatchError, PlanError
from lusifer.qdrant.connection import client_errors, connect_by_environment
from lusifer.qdrant.metadata import parse_metadata
from lusifer.qdrant.strict_mode import examine_strict_mode
from lusifer.reindex.endpoints.qdrant.settings import left_out
from lusifer.reindex.inspection import Inspection, unknown_model
from lusifer.reindex.plan import Model
from lusifer.stores import diagnostics
from lusifer.stores.diagnostics import version_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_client import models

    from lusifer.reindex.inspection import PlanRequest
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["check_version", "inspect_collection"]


def inspect_collection(request: PlanRequest) -> Inspection | None:
    """Read what a collection or alias holds; None without one, for a file's documents.

    Raises:
        PlanError: The server is too old.
        CollectionMismatchError: The collection has no metadata of ours, and several vectors, or is
            to be re-embedded in place.
        StoreError: There is no such collection, or it can't be read.
    """
    client = connect_by_environment(request.address, grpc=request.grpc)
    try:
        with client_errors(request.name):
            version = client.info().version
            aliases = client.get_aliases().aliases
            found = {each.alias_name: each.collection_name for each in aliases}
            name = found.get(request.name, request.name)
            if request.file and not client.collection_exists(name):
                return None
            info = client.get_collection(name)
    finally:
        client.close()
    return _inspect(request, name, info, check_version(version, in_place=request.in_place))


def check_version(version: str, *, in_place: bool) -> Diagnostic:
    """Report what a version of Qdrant means for re-embedding.

    Raises:
        PlanError: It lacks an operation that is needed.
    """
    numbers = version_numbers(version)
    if in_place and numbers < (1, 18):
        raise PlanError(
            f"Qdrant {version} can't add named vectors, which came with 1.18.",
            next_step="Upgrade Qdrant first, or use --new-collection.",
        )
    if numbers < (1, 17):
        raise PlanError(
            f"Qdrant {version} lacks guarded inserts, which came with 1.17.",
            next_step="Upgrade Qdrant first.",
        )
    if numbers < (1, 19):
        return diagnostics.warning(
            "Qdrant",
            f"{version} decides guarded writes again when it replays its log after a crash "
            "(fixed in 1.19).",
            "Upgrade, or run verify after any crash of Qdrant.",
        )
    return diagnostics.ok("Qdrant", f"{version} has guarded writes.")


def _inspect(
    request: PlanRequest, name: str, info: models.CollectionInfo, version: Diagnostic
) -> Inspection:
    vectors = info.config.params.vectors
    names = tuple(vectors) if isinstance(vectors, dict) else ("",)
    is_alias = name != request.name
    try:
        metadata = parse_metadata(name, info)
    except CollectionMismatchError as error:
        if request.in_place or len(names) != 1:
            raise
        notes = (version, unknown_model(error), *_check_settings(request, name, info, names[0]))
        return Inspection(name, is_alias, names[0], None, names, notes)
    old_model = Model(
        name=metadata.model,
        fingerprint=metadata.fingerprint,
        dimension=metadata.dimension,
        role_prompts=metadata.role_prompts,
    )
    return Inspection(
        name,
        is_alias,
        metadata.vector_name,
        old_model,
        names,
        (version, *_check_settings(request, name, info, metadata.vector_name)),
        text_field=metadata.text_field,
        template=metadata.template,
    )


def _check_settings(
    request: PlanRequest, name: str, info: models.CollectionInfo, replaced_vector: str
) -> Iterator[Diagnostic]:
    """Report settings that get in the way.

    Raises:
        PlanError: The collection has settings that a copy can't have.
    """
    if request.file:
        return
    missing = left_out(info.config, replaced_vector)
    if missing and not request.in_place:
        raise PlanError(
            f"A copy of {name} would not have these of its settings: {', '.join(missing)}.",
            next_step="Re-embed in place, or change them first.",
        )
    vectors = info.config.params.vectors
    replaced = vectors.get(replaced_vector) if isinstance(vectors, dict) else vectors
    if (
        replaced is not None
        and replaced.datatype is not None
        and replaced.datatype.value == "uint8"
    ):
        yield diagnostics.warning(
            "datatype",
            f"The vector {replaced_vector!r} has the datatype uint8, which would round every "
            "number of a unit vector to 0. The new one gets float32.",
            "Quantize it, if memory is short.",
        )
    yield from (each for each in examine_strict_mode(info) if each.severity != "ok")
