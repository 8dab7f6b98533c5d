"""A copy has every setting that the client knows, as the server's OpenAPI document lists them."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

import pytest
from pydantic import BaseModel
from qdrant_client import models

from lusifer.errors import PlanError
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata
from lusifer.reindex.endpoints.qdrant import inspection
from lusifer.reindex.endpoints.qdrant.alias import QdrantAliasCutover
from lusifer.reindex.endpoints.qdrant.named_vector import QdrantNamedVectorCutover
from lusifer.reindex.endpoints.qdrant.settings import COPIED, left_out
from lusifer.reindex.inspection import PlanRequest

METADATA = CollectionMetadata(
    collection="b", fingerprint="f", model="m", dimension=7, vector_name="second"
)


def filled(kind: Any) -> Any:
    """Return a value of a type with every field set, however deep."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return filled(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return filled(next(each for each in arguments if each is not type(None)))
    if origin is dict:
        return {"other": filled(arguments[1])}
    if origin in {list, typing.Literal}:
        return [filled(arguments[0])] if origin is list else arguments[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind(**{name: filled(each.annotation) for name, each in kind.model_fields.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return {bool: True, int: 3, float: 0.5, str: "text", Any: "any"}[kind]


def info_of(config: models.CollectionConfig, schema: Any = None) -> models.CollectionInfo:
    """Return what the client says about a collection."""
    return models.CollectionInfo.model_construct(
        config=config, payload_schema=schema or {}, points_count=0
    )


class Server:
    """Keeps the settings of collections as requests give them."""

    def __init__(self, config: models.CollectionConfig) -> None:
        self.configs = {"a": config.model_dump()}
        self.schemas: dict[str, dict[str, Any]] = {"a": {}, "b": {}}

    def get_collection(self, name: str) -> models.CollectionInfo:
        config = models.CollectionConfig.model_validate(self.configs[name])
        return info_of(config, self.schemas[name])

    def collection_exists(self, name: str) -> bool:
        return name in self.configs

    def create_collection(self, name: str, **given: Any) -> None:
        assert models.CreateCollection(
            **{_REQUEST.get(key, key): value for key, value in given.items()}
        )
        self.configs[name] = {"params": {}}
        self._set(name, given)

    def update_collection(self, name: str, **given: Any) -> None:
        for vector, update in _plain(given.pop("vectors_config", {})).items():
            vectors = self.configs[name]["params"]["vectors"]
            vectors[vector] |= {key: each for key, each in update.items() if each is not None}
        for params in [given.pop("collection_params", None)]:
            given |= {} if params is None else params.model_dump(exclude_none=True)
        self._set(name, given)

    def create_payload_index(self, name: str, key: str, schema: Any, wait: bool) -> None:
        params = schema if isinstance(schema, BaseModel) else None
        kind = schema.type.value if params else schema
        made = models.PayloadIndexInfo(data_type=kind, params=params, points=0)
        self.schemas[name][key] = made

    def create_vector_name(self, name: str, vector: str, config: Any, wait: bool) -> None:
        self.configs[name]["params"]["vectors"][vector] = config.dense.model_dump(exclude_none=True)

    def get_aliases(self) -> Any:
        return models.CollectionsAliasesResponse(aliases=[])

    def update_collection_aliases(self, _: Any) -> None:
        """Do nothing."""

    def _set(self, name: str, given: dict[str, Any]) -> None:
        sections = {"hnsw_config", "wal_config", "quantization_config", "strict_mode_config"}
        for key, value in _plain(given).items():
            shown = {"optimizers_config": "optimizer_config"}.get(key, key)
            inner = {"vectors_config": "vectors", "sparse_vectors_config": "sparse_vectors"}
            if shown in {*sections, "optimizer_config", "metadata"}:
                self.configs[name][shown] = value
            else:
                self.configs[name]["params"][inner.get(key, key)] = value


_REQUEST = {"vectors_config": "vectors", "sparse_vectors_config": "sparse_vectors"}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def config() -> models.CollectionConfig:
    """Return a configuration with every setting, and two vectors."""
    made: models.CollectionConfig = filled(models.CollectionConfig)
    vector: models.VectorParams = filled(models.VectorParams)
    replaced = vector.model_copy(
        update={"multivector_config": None, "datatype": models.Datatype.FLOAT16}
    )
    made.params.vectors = {"lusifer": replaced, "other": vector}
    return made


def test_a_copy_has_every_setting(config: models.CollectionConfig) -> None:
    server: Any = Server(config)
    server.schemas["a"] = {
        f"field{number}": models.PayloadIndexInfo(
            data_type=params.type.value, params=params, points=1
        )
        for number, params in enumerate(
            filled(each)
            for each in typing.get_args(models.PayloadIndexInfo.model_fields["params"].annotation)
            if each is not type(None)
        )
    }
    assert len(server.schemas["a"]) == 8
    cutover = QdrantAliasCutover(
        server,
        alias="live",
        source="a",
        target="b",
        metadata=METADATA,
        template="a",
        replaced_vector="lusifer",
    )
    assert cutover.prepare()
    cutover.activate()
    assert not cutover.prepare()
    before, after = server.configs["a"], server.configs["b"]
    replaced = before["params"]["vectors"].pop("lusifer")
    new = after["params"]["vectors"].pop("second")
    assert new == replaced | {"size": 7, "distance": models.Distance.COSINE}
    assert after["metadata"].pop(METADATA_KEY)["fingerprint"] == "f"
    assert _normal(after) == _normal(before)
    assert server.schemas["b"].pop("lusifer_sha256").data_type == "keyword"
    assert server.schemas["b"] == server.schemas["a"] | {
        key: each.model_copy(update={"points": 0}) for key, each in server.schemas["a"].items()
    }


def test_a_second_vector_has_every_setting_of_the_first(config: models.CollectionConfig) -> None:
    server: Any = Server(config)
    old = METADATA.model_copy(update={"vector_name": "lusifer", "collection": "a"})
    new = METADATA.model_copy(update={"collection": "a"})
    assert QdrantNamedVectorCutover(client=server, source=old, target=new).prepare()
    vectors = server.configs["a"]["params"]["vectors"]
    expected = vectors["lusifer"] | {"size": 7, "distance": models.Distance.COSINE}
    del expected["multivector_config"]
    assert vectors["second"] == expected


def test_every_setting_of_the_client_is_copied_or_refused(config: models.CollectionConfig) -> None:
    """A setting of a newer version is in neither list until somebody decides."""
    assert left_out(config, "lusifer") == []
    for name, copied in COPIED.items():
        unknown = set(getattr(models, name).model_fields) - copied
        assert unknown == ({"multivector_config"} if name == "VectorParams" else set())


def test_what_a_copy_can_not_have_is_refused_by_name(config: models.CollectionConfig) -> None:
    config.params.sharding_method = models.ShardingMethod.CUSTOM
    info = info_of(config)
    request = PlanRequest("qdrant", "http://here", "live")
    with pytest.raises(PlanError) as refused:
        list(inspection._check_settings(request, "a", info, "other"))
    assert refused.value.message == (
        "A copy of a would not have these of its settings: multivector_config is "
        "comparator=<MultiVectorComparator.MAX_SIM: 'max_sim'>, sharding_method is custom."
    )


def test_a_vector_of_bytes_is_reported(config: models.CollectionConfig) -> None:
    assert isinstance(config.params.vectors, dict)
    config.params.vectors["lusifer"].datatype = models.Datatype.UINT8
    info = info_of(config)
    request = PlanRequest("qdrant", "http://here", "live")
    found = list(inspection._check_settings(request, "a", info, "lusifer"))
    assert next(each.subject for each in found if each.severity == "warning") == "datatype"
    server: Any = Server(config)
    cutover = QdrantAliasCutover(
        server, alias="live", source="a", target="b", metadata=METADATA, template="a",
        replaced_vector="lusifer",
    )  # fmt: skip
    cutover.prepare()
    assert server.configs["b"]["params"]["vectors"]["second"]["datatype"] is None


def _normal(config: dict[str, Any]) -> Any:
    return models.CollectionConfig.model_validate(config)
