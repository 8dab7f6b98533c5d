from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lusifer.errors import CollectionMismatchError, PlanError
from lusifer.reindex.inspection import PlanRequest

pytest.importorskip("qdrant_client")
from qdrant_client import models

from lusifer.reindex.endpoints.qdrant import inspection
from lusifer.reindex.endpoints.qdrant.inspection import check_version, inspect_collection

VECTOR = models.VectorParams(size=4, distance=models.Distance.COSINE)
METADATA = {
    "collection": "v1", "fingerprint": "sha256:1", "model": "old", "dimension": 4,
    "role_prompts": {"query": "q: "},
}  # fmt: skip


class Client:
    """A server with one collection ``v1``, to which the alias ``live`` points."""

    def __init__(self, vectors: Any, metadata: Any, version: str) -> None:
        config = models.CollectionConfig.model_construct(
            metadata=metadata, params=models.CollectionParams(vectors=vectors)
        )
        self.found = models.CollectionInfo.model_construct(config=config)
        self.version = version
        self.closed = False

    def info(self) -> Any:
        return SimpleNamespace(version=self.version)

    def get_aliases(self) -> Any:
        alias = SimpleNamespace(alias_name="live", collection_name="v1")
        return SimpleNamespace(aliases=[alias])

    def collection_exists(self, name: str) -> bool:
        return name == "v1"

    def get_collection(self, name: str) -> Any:
        assert name == "v1"
        return self.found

    def close(self) -> None:
        self.closed = True


def inspect(
    monkeypatch: pytest.MonkeyPatch,
    vectors: Any,
    metadata: Any = None,
    *,
    version: str = "1.19.0",
    **request: Any,
) -> Any:
    client = Client(vectors, metadata, version)
    monkeypatch.setattr(inspection, "connect_by_environment", lambda address, grpc: client)
    asked = {"kind": "qdrant", "address": "http://q", "name": "live", **request}
    try:
        return inspect_collection(PlanRequest(**asked))
    finally:
        assert client.closed


@pytest.mark.parametrize(
    ("version", "in_place", "severity"),
    [("1.17.0", False, "warning"), ("1.18.2", True, "warning"), ("1.19.0", True, "ok")],
)
def test_a_version_is_fine_or_has_a_warning(version: str, in_place: bool, severity: str) -> None:
    assert check_version(version, in_place=in_place).severity == severity


@pytest.mark.parametrize(
    ("version", "in_place", "message"),
    [
        ("1.16.3", False, "Qdrant 1.16.3 lacks guarded inserts, which came with 1.17."),
        ("1.17.1", True, "Qdrant 1.17.1 can't add named vectors, which came with 1.18."),
        ("1.9.0", True, "Qdrant 1.9.0 can't add named vectors, which came with 1.18."),
    ],
)
def test_an_old_version_is_refused(version: str, in_place: bool, message: str) -> None:
    with pytest.raises(PlanError) as refused:
        check_version(version, in_place=in_place)
    assert refused.value.message == message


def test_a_collection_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"lusifer": VECTOR, "other": VECTOR}
    found = inspect(monkeypatch, vectors, {"lusifer": METADATA})
    assert (found.collection, found.is_alias, found.vector_name) == ("v1", True, "lusifer")
    assert (found.old_model.name, found.old_model.fingerprint) == ("old", "sha256:1")
    assert found.old_model.role_prompts == {"query": "q: "}
    assert found.vectors == ("lusifer", "other")
    assert [each.severity for each in found.diagnostics] == ["ok"]


def test_a_collection_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect(monkeypatch, VECTOR, name="v1")
    assert (found.collection, found.is_alias, found.vector_name) == ("v1", False, "")
    assert (found.old_model, found.vectors) == (None, ("",))
    assert [each.severity for each in found.diagnostics] == ["ok", "note"]


@pytest.mark.parametrize(
    ("vectors", "in_place"), [({"a": VECTOR, "b": VECTOR}, False), ({"a": VECTOR}, True)]
)
def test_which_vector_is_meant_must_be_known(
    vectors: Any, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CollectionMismatchError):
        inspect(monkeypatch, vectors, in_place=in_place)


def test_a_file_needs_no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect(monkeypatch, VECTOR, name="absent", file="a.jsonl") is None
