from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import FakeRest
from plugin.tests.weaviate.fakes import METADATA, make_config

from lusifer.errors import CollectionMismatchError, IndexNotFoundError, PlanError
from lusifer.reindex.inspection import PlanRequest

pytest.importorskip("weaviate")
from lusifer.reindex.endpoints.weaviate import inspection
from lusifer.reindex.endpoints.weaviate.inspection import check_version, inspect_collection

OURS = METADATA.in_description()


def schema(module: str = "text2vec-transformers", **changes: Any) -> dict[str, Any]:
    vector = {"vectorizer": {module: {}}, "vectorIndexType": "hnsw", "vectorIndexConfig": {}}
    properties = [{"name": "text", "dataType": ["text"]}, {"name": "n", "dataType": ["int"]}]
    return {"class": "A", "vectorConfig": {"lusifer": vector}, "properties": properties, **changes}


def inspect(
    monkeypatch: pytest.MonkeyPatch,
    config: Any,
    *,
    exists: bool = True,
    found: Any = None,
    rest: Any = None,
    **request: Any,
) -> Any:
    closed: list[bool] = []
    handle = SimpleNamespace(exists=lambda: exists, config=SimpleNamespace(get=lambda: config))
    client = SimpleNamespace(
        get_meta=lambda: {"version": "1.39.0"},
        collections=SimpleNamespace(get=lambda name: handle),
        close=lambda: closed.append(True),
    )
    rest = rest or FakeRest({"": []})
    rest.schemas["A"] = {**(found or schema()), **rest.schemas["A"], **(found or schema())}
    monkeypatch.setattr(inspection, "connect_by_environment", lambda address: client)
    monkeypatch.setattr(inspection, "rest_by_environment", lambda address: rest)
    asked = {"kind": "weaviate", "address": "http://w", "name": "Live", **request}
    try:
        return inspect_collection(PlanRequest(**asked), 16)
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
    found = inspect(monkeypatch, make_config(OURS, module="none"), found=schema("none"))
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
    options: Any = {"found": schema("none"), "name": "A"}
    found = inspect(monkeypatch, make_config("theirs"), **options)
    assert (found.is_alias, found.vector_name, found.old_model) == (False, "lusifer", None)
    assert [each.subject for each in found.diagnostics] == ["old model"]
    with pytest.raises(CollectionMismatchError):
        inspect(monkeypatch, make_config("theirs"), in_place=True, **options)
    for field in ("n", "absent"):
        with pytest.raises(PlanError, match=rf"no text property '{field}'; .* are: text\."):
            inspect(monkeypatch, make_config("theirs"), text_field=field, **options)


def test_an_unnamed_vector_has_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    unnamed = schema(
        vectorConfig=None, vectorizer="none", vectorIndexType="hnsw", vectorIndexConfig={}
    )
    found = inspect(monkeypatch, make_config(None), found=unnamed)
    assert (found.vector_name, found.vectors) == ("", ())


def test_a_missing_collection_is_refused_unless_documents_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert inspect(monkeypatch, None, exists=False, file="a.jsonl") is None
    with pytest.raises(IndexNotFoundError):
        inspect(monkeypatch, None, exists=False)


def test_what_refers_to_the_collection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = FakeRest({"": []})
    rest.schemas["B"] = {"class": "B", "properties": [{"name": "of", "dataType": ["A"]}]}
    config = make_config(OURS, module="none")
    (found,) = inspect(monkeypatch, config, found=schema("none"), rest=rest).diagnostics
    assert (found.severity, found.message) == ("warning", "The collection B refers to it (of).")


def test_tenants_that_are_not_active_are_woken_or_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look(statuses: dict[str, str], **request: Any) -> Any:
        rest = FakeRest({"a": [], "b": [], "c": []})
        rest.statuses |= statuses
        config = make_config(OURS, module="none")
        return inspect(monkeypatch, config, found=schema("none"), rest=rest, **request)

    assert look({}).diagnostics == ()
    woken = look({"a": "COLD", "b": "INACTIVE"})
    assert "2 of 3 tenants are inactive" in woken.diagnostics[0].message
    assert woken.skipped_tenants == ()
    with pytest.raises(PlanError, match=r"1 tenants are offloaded .* is b \(OFFLOADED\)"):
        look({"a": "COLD", "b": "FROZEN"})
    skipped = look({"a": "COLD", "b": "FROZEN"}, skip_inactive_tenants=True)
    assert skipped.skipped_tenants == ("a", "b")
    assert skipped.diagnostics[0].severity == "warning"
