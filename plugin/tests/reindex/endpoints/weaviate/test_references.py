from __future__ import annotations

from typing import Any

from plugin.tests.weaviate.fake_rest import FakeRest

from lusifer.reindex.endpoints.weaviate.references import DanglingReferences


def linked(*targets: str) -> list[dict[str, str]]:
    return [{"beacon": f"weaviate://localhost/{each}"} for each in targets]


def test_references_to_what_is_gone_are_left_out() -> None:
    rest: Any = FakeRest({"t": [{"id": "there"}], "": [{"id": "plain"}]})
    rest.schemas |= {"B": {"multiTenancyConfig": {"enabled": True}}, "C": {}}
    asked: list[list[str]] = []

    def present(keys: Any) -> set[str]:
        asked.append(list(keys))
        return {"t/here"}

    properties = {
        "text": "x",
        "own": linked("A/here", "A/gone"),
        "others": linked("B/there", "B/gone", "C/plain", "C/gone", "Gone/x", "somewhere"),
        "all": linked("A/gone"),
    }
    (found,) = DanglingReferences(rest, present).remove(
        [("t/1", {"class": "A", "properties": properties})]
    )
    assert found == (
        "t/1",
        {
            "class": "A",
            "properties": {
                "text": "x",
                "own": linked("A/here"),
                # Without a collection in it, nothing can be asked for.
                "others": linked("B/there", "C/plain", "somewhere"),
            },
        },
    )
    assert asked == [["t/gone", "t/here"]]


def test_objects_without_references_cost_nothing() -> None:
    rest: Any = FakeRest({"t": []})
    objects = [("t/1", {"class": "A", "properties": {"text": "x"}})]
    assert DanglingReferences(rest, lambda keys: set()).remove(objects) == objects
    assert rest.gets == []
