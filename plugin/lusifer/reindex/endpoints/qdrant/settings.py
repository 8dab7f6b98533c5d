"""Copies the settings of a Qdrant collection to the one that replaces it, or to a second vector.

Qdrant takes some settings when a collection is created and others only as an update. What it takes
in neither way is named by :func:`left_out`, so that a plan can refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = ["COPIED", "Settings", "copied_settings", "left_out", "vector_update"]

_Model = TypeVar("_Model", bound=BaseModel)

COPIED = {
    "CollectionConfig": {
        "params",
        "hnsw_config",
        "optimizer_config",
        "wal_config",
        "quantization_config",
        "strict_mode_config",
        "metadata",
    },
    "CollectionParams": {
        "vectors",
        "shard_number",
        "sharding_method",
        "replication_factor",
        "write_consistency_factor",
        "read_fan_out_factor",
        "read_fan_out_delay_ms",
        "on_disk_payload",
        "payload",
        "id_tracker",
        "sparse_vectors",
    },
    "VectorParams": {
        "size",
        "distance",
        "hnsw_config",
        "quantization_config",
        "on_disk",
        "memory",
        "datatype",
    },
}
"""Settings that a copy gets, by the class of the client that has them. Settings inside these are
passed on whole."""

_CREATED = (
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
    "payload",
    "id_tracker",
)
_UPDATED = ("read_fan_out_factor", "read_fan_out_delay_ms")
_OF_VECTOR = ("hnsw_config", "quantization_config", "on_disk", "memory")


@dataclass(frozen=True)
class Settings:
    """Arguments of the client that give a collection the settings of another one."""

    created: dict[str, Any]
    """Arguments of ``create_collection``; of many types, which only Any passes on."""
    updated: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``update_collection`` right after that; empty without any."""
    shown: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``update_collection`` when applications begin to see the collection. Limits of
    the strict mode would get in the way of the copying."""


def copied_settings(
    config: models.CollectionConfig, metadata: CollectionMetadata, replaced_vector: str
) -> Settings:
    """Return the settings of a new collection.

    Args:
        config: Settings of the old one.
        metadata: Metadata of the new one.
        replaced_vector: Vector of the old one that the new vector replaces; empty for an unnamed
            one. The others are copied.
    """
    from qdrant_client import models

    params = config.params
    vectors = _named(params)
    replaced = vectors.pop(replaced_vector, None)
    of_vector = {name: _get(replaced, name) for name in _OF_VECTOR} if replaced else {}
    vectors[metadata.vector_name] = models.VectorParams(
        size=metadata.dimension,
        distance=models.Distance.COSINE,
        datatype=_datatype(replaced),
        **_given(of_vector),
    )
    fields = metadata.model_dump(mode="json", exclude_none=True)
    created = {name: _get(params, name) for name in _CREATED} | {
        "vectors_config": vectors,
        "sparse_vectors_config": params.sparse_vectors,
        "hnsw_config": _as(models.HnswConfigDiff, config.hnsw_config),
        "optimizers_config": _as(models.OptimizersConfigDiff, config.optimizer_config),
        "wal_config": _as(models.WalConfigDiff, config.wal_config),
        "quantization_config": config.quantization_config,
        "metadata": {**(config.metadata or {}), METADATA_KEY: fields},
    }
    spread = _given({name: _get(params, name) for name in _UPDATED})
    strict = _as(models.StrictModeConfig, config.strict_mode_config)
    return Settings(
        _given(created),
        {"collection_params": models.CollectionParamsDiff(**spread)} if spread else {},
        {"strict_mode_config": strict} if strict else {},
    )


def vector_update(
    config: models.CollectionConfig, replaced_vector: str
) -> models.VectorParamsDiff | None:
    """Return the settings of the old vector that a new named vector gets by an update, if any."""
    from qdrant_client import models

    replaced = _named(config.params).get(replaced_vector)
    given = _given({name: _get(replaced, name) for name in _OF_VECTOR}) if replaced else {}
    return models.VectorParamsDiff(**given) if given else None


def left_out(config: models.CollectionConfig, replaced_vector: str) -> list[str]:
    """Return the settings that a copy can't have, as ``name is value``."""
    found = []
    for each in (config, config.params, _named(config.params).get(replaced_vector)):
        if each is None:
            continue
        known = COPIED[type(each).__name__]
        found += [
            f"{name} is {value}" for name, value in _given(dict(each)).items() if name not in known
        ]
    method = config.params.sharding_method
    if method is not None and method.value == "custom":
        # Each point would have to be written under its own shard key.
        found.append("sharding_method is custom")
    return found


def _named(params: models.CollectionParams) -> dict[str, models.VectorParams]:
    """Return the dense vectors by name; an unnamed one has an empty name."""
    vectors = params.vectors
    if vectors is None:
        return {}
    return dict(vectors) if isinstance(vectors, dict) else {"": vectors}


def _datatype(replaced: models.VectorParams | None) -> models.Datatype | None:
    """Return the datatype of the old vector, unless it can't hold a unit vector."""
    datatype = replaced.datatype if replaced else None
    return None if datatype is not None and datatype.value == "uint8" else datatype


def _as(kind: type[_Model], settings: BaseModel | None) -> _Model | None:
    """Return settings as the class that a request takes."""
    if settings is None:
        return None
    given = settings.model_dump(exclude_none=True)
    return kind.model_validate(given) if given else None


def _get(settings: object, name: str) -> Any:
    # Older clients lack the newer settings.
    return getattr(settings, name, None)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
