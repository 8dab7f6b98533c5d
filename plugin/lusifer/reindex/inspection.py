"""What a plan is asked for, and what is there now: the collection, its model, and what its server
can do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lusifer.errors import CollectionMismatchError, InvalidInputError
from lusifer.reindex.plan import GateLimits, Model, RateLimits
from lusifer.stores import diagnostics

if TYPE_CHECKING:
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["Found", "PlanRequest", "look"]


@dataclass(frozen=True)
class PlanRequest:
    """What a person asked for; see ``lusifer reindex plan --help``."""

    kind: Literal["embedded", "qdrant", "weaviate"]
    address: str
    name: str
    """Alias or collection that applications name."""
    bundle: str | None = None
    service: str | None = None
    long_text: Any = "truncate"
    file: str | None = None
    """Where the documents come from, if not from the collection."""
    alias: str | None = None
    new_collection: str | None = None
    in_place: bool = False
    vector_name: str | None = None
    """Of the new vector."""
    service_address: str | None = None
    """Where Weaviate reaches the service of the new model."""
    dimension: int | None = None
    """Of the new vectors, where it is not the model's own."""
    grpc: bool = False
    text_field: str = "text"
    id_field: str = "id"
    language_field: str = "lang"
    window: int = 256
    samples: int = 128
    limits: RateLimits = field(default_factory=RateLimits)
    gate: GateLimits = field(default_factory=GateLimits)
    price_per_hour: float | None = None


@dataclass(frozen=True)
class Found:
    """What is there now."""

    collection: str
    """Behind the name."""
    is_alias: bool
    vector_name: str
    old_model: Model | None
    vectors: tuple[str, ...]
    notes: tuple[Diagnostic, ...]


def look(request: PlanRequest) -> Found | None:
    """What is there; None where there is nothing and the documents come from a file.

    Raises:
        CollectionMismatchError: The collection or the server can't be re-embedded so.
        StoreError: It can't be read, or is not there.
    """
    looks = {"embedded": _look_embedded, "qdrant": _look_qdrant, "weaviate": _look_weaviate}
    return looks[request.kind](request)


def _look_embedded(request: PlanRequest) -> Found | None:
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.embedded.layout import read_index

    collections = EmbeddedCollections(request.address)
    if request.file and request.name not in {*collections.aliases(), *collections.names()}:
        return None
    name = collections.resolve(request.name)
    index = read_index(collections.root / "collections" / name)
    model = Model(name=index.model, fingerprint=index.fingerprint, dimension=index.dimension)
    notes = (diagnostics.ok("aliases", "A switch replaces one small file whole."),)
    return Found(name, name != request.name, index.vector_name, model, (index.vector_name,), notes)


def _look_qdrant(request: PlanRequest) -> Found | None:
    from lusifer.qdrant.connection import client_errors, connect_by_environment
    from lusifer.qdrant.metadata import parse_metadata

    client = connect_by_environment(request.address, grpc=request.grpc)
    try:
        with client_errors(request.name):
            version = client.info().version
            aliases = {
                each.alias_name: each.collection_name for each in client.get_aliases().aliases
            }
            name = aliases.get(request.name, request.name)
            if request.file and not client.collection_exists(name):
                return None
            info = client.get_collection(name)
        vectors = info.config.params.vectors
        names = tuple(vectors) if isinstance(vectors, dict) else ("",)
        notes = list(_qdrant_version(version, in_place=request.in_place))
        try:
            card = parse_metadata(name, info)
        except CollectionMismatchError as error:
            if request.in_place:
                raise
            if len(names) != 1:
                raise
            notes.append(
                diagnostics.note(
                    "old model", f"{error.message} Its old vectors can be compared with, not asked."
                )
            )
            return Found(name, name != request.name, names[0], None, names, tuple(notes))
        old = Model(
            name=card.model,
            fingerprint=card.fingerprint,
            dimension=card.dimension,
            role_prompts=card.role_prompts,
        )
        return Found(name, name != request.name, card.vector_name, old, names, tuple(notes))
    finally:
        client.close()


def _look_weaviate(request: PlanRequest) -> Found | None:
    from lusifer.weaviate.connection import client_errors, connect_by_environment, not_found
    from lusifer.weaviate.metadata import module_of, parse_metadata
    from lusifer.weaviate.schema import version_warnings

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
        notes = [
            diagnostics.warning("Weaviate", each, "Upgrade Weaviate.")
            for each in version_warnings(version)
        ]
        if request.in_place and _numbers(version) < (1, 31):
            raise CollectionMismatchError(
                f"Weaviate {version} can't add a named vector, which came with 1.31.",
                next_step="Upgrade Weaviate first, or leave out --in-place.",
            )
        names = tuple(config.vector_config or {})
        is_alias = config.name != request.name
        try:
            card = parse_metadata(config.name, config)
        except CollectionMismatchError as error:
            if len(names) != 1 or request.in_place:
                raise
            notes.append(
                diagnostics.note(
                    "old model", f"{error.message} Its old vectors can be compared with, not asked."
                )
            )
            return Found(config.name, is_alias, names[0], None, names, tuple(notes))
        if module_of(config, card.vector_name) != "none" and request.service_address is None:
            if request.in_place:
                raise InvalidInputError(
                    f"Weaviate embeds what is written to {config.name}, and would embed the new vector with "
                    "the old model.",
                    next_step="Serve the new model and name it with --service-address.",
                )
            notes.append(
                diagnostics.note(
                    "service",
                    "Weaviate will ask the same address as before for vectors of the new collection.",
                    "Serve the new model at another address and name it with --service-address.",
                )
            )
        old = Model(name=card.model, fingerprint=card.fingerprint, dimension=card.dimension)
        return Found(config.name, is_alias, card.vector_name, old, names, tuple(notes))
    finally:
        client.close()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _qdrant_version(version: str, *, in_place: bool) -> list[Diagnostic]:
    numbers = _numbers(version)
    needed = (1, 18) if in_place else (1, 17)
    if numbers < needed:
        raise CollectionMismatchError(
            f"Qdrant {version} lacks {'adding named vectors' if in_place else 'guarded inserts'}, which came "
            f"with {needed[0]}.{needed[1]}.",
            next_step="Upgrade Qdrant first, or use --new-collection."
            if in_place
            else "Upgrade Qdrant first.",
        )
    if numbers < (1, 19):
        return [
            diagnostics.warning(
                "Qdrant",
                f"{version} decides guarded writes anew when it replays its log after a crash (before 1.19).",
                "Upgrade, or run verify after any crash of Qdrant.",
            )
        ]
    return [diagnostics.ok("Qdrant", f"{version} has guarded writes.")]
