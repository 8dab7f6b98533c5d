from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qdrant_edge")
from lusifer.embedded.collections import EmbeddedCollections
from lusifer.errors import IndexNotFoundError
from lusifer.reindex.endpoints.embedded.inspection import inspect_collection
from lusifer.reindex.inspection import PlanRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    collections = EmbeddedCollections(tmp_path)
    collections.create("v1", fingerprint="sha256:1", dimension=4, model="old").close()
    collections.set_alias("live", "v1")
    return tmp_path


def request(folder: Path, name: str, **more: Any) -> PlanRequest:
    return PlanRequest(kind="embedded", address=str(folder), name=name, **more)


@pytest.mark.parametrize(("name", "is_alias"), [("live", True), ("v1", False)])
def test_a_collection_or_alias(name: str, is_alias: bool, folder: Path) -> None:
    found = inspect_collection(request(folder, name))
    assert found is not None
    assert (found.collection, found.is_alias, found.vectors) == ("v1", is_alias, ("lusifer",))
    assert found.old_model is not None
    assert (found.old_model.name, found.old_model.dimension) == ("old", 4)
    assert [each.severity for each in found.diagnostics] == ["ok"]


def test_a_missing_collection_is_refused_unless_documents_come_from_a_file(folder: Path) -> None:
    assert inspect_collection(request(folder, "new", file="a.jsonl")) is None
    with pytest.raises(IndexNotFoundError):
        inspect_collection(request(folder, "new"))
