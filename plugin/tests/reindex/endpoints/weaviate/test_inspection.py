from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config

from lusifer.errors import CollectionMismatchError, IndexNotFoundError, PlanError
from lusifer.reindex.inspection import PlanRequest

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate import inspection
from lusifer.reindex.endpoints.weaviate.inspection import check_version, inspect_collection

OURS = METADATA.in_description()


def inspect(
    monkeypatch: pytest.MonkeyPatch, config: Any, *, exists: bool = True, **request: Any
) -> Any:
    closed: list[bool] = []
    handle = SimpleNamespace(exists=lambda: exists, config=SimpleNamespace(get=lambda: config))
    client = SimpleNamespace(
        get_meta=lambda: {"version": "1.39.0"},
        collections=SimpleNamespace(get=lambda name: handle),
        close=lambda: closed.append(True),
    )
    monkeypatch.setattr(inspection, "connect_by_environment", lambda address: client)
    asked = {"kind": "weaviate", "address": "http://w", "name": "Live", **request}
    try:
        return inspect_collection(PlanRequest(**asked))
    finally:
        assert closed == [True]


def test_in_place_needs_1_31() -> None:
    assert check_version("1.39.0", in_place=True) == []
    with pytest.raises(PlanError, match=r"Weaviate 1\.30\.7 can't add a named vector"):
        check_version("1.30.7", in_place=True)
    warned = [each.severity for each in check_version("1.30.7", in_place=False)]
    assert warned
    assert set(warned) == {"warning"}


def test_a_collection_without_module(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect(monkeypatch, make_config(OURS, module="none"))
    assert (found.collection, found.is_alias, found.vector_name) == ("A", True, "lusifer")
    assert (found.old_model.name, found.old_model.dimension) == ("m", 16)
    assert (found.vectors, found.diagnostics) == (("lusifer",), ())


def test_a_module_that_would_call_the_old_service_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (note,) = inspect(monkeypatch, make_config(OURS)).diagnostics
    assert (note.severity, note.subject) == ("note", "service")
    named = inspect(monkeypatch, make_config(OURS), service_address="http://new:8000")
    assert named.diagnostics == ()
    with pytest.raises(PlanError, match="would embed the new vector with the old model"):
        inspect(monkeypatch, make_config(OURS), in_place=True)


def test_a_collection_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect(monkeypatch, make_config("theirs"), name="A")
    assert (found.is_alias, found.vector_name, found.old_model) == (False, "lusifer", None)
    assert [each.subject for each in found.diagnostics] == ["old model"]
    with pytest.raises(CollectionMismatchError):
        inspect(monkeypatch, make_config("theirs"), in_place=True)


def test_a_missing_collection_is_refused_unless_documents_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert inspect(monkeypatch, None, exists=False, file="a.jsonl") is None
    with pytest.raises(IndexNotFoundError):
        inspect(monkeypatch, None, exists=False)
