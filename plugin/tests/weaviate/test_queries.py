"""Searches of an open collection: what is asked, and how answers become hits, without a server."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config, make_property

from lusifer.errors import InvalidDimensionError, InvalidInputError
from lusifer.types import Hit, SearchOptions

pytest.importorskip("weaviate")
from lusifer.weaviate.queries import _boosted, _hit, _plain, find

VECTOR = np.eye(16, dtype=np.float32)[0]


class RecordingCollection:
    """A collection that holds a ranking and records what it is asked."""

    def __init__(self, *found: Any) -> None:
        self.found = found
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []
        self.query = self.config = self

    def get(self) -> Any:
        return make_config("", properties=[make_property("later", "int")])

    def near_vector(self, vector: Any, **options: Any) -> Any:
        return self._answer("near_vector", vector, options)

    def near_text(self, text: str, **options: Any) -> Any:
        return self._answer("near_text", text, options)

    def hybrid(self, query: str, **options: Any) -> Any:
        return self._answer("hybrid", query, options)

    def _answer(self, name: str, query: Any, options: dict[str, Any]) -> Any:
        self.asked.append((name, query, options))
        return SimpleNamespace(objects=list(self.found[: options["limit"]]))


def found(name: str, distance: float, **properties: Any) -> Any:
    """Return an object as the client does."""
    return SimpleNamespace(
        uuid=uuid.UUID(int=1),
        properties={"document_id": name, "text": f"text {name}", **properties},
        metadata=SimpleNamespace(distance=distance, score=None),
    )


def search(handle: Any, query: Any, limit: int = 3, **options: Any) -> list[Hit]:
    config = make_config("", properties=[make_property("lang"), make_property("book")])
    return find(handle, config, METADATA, query, limit, SearchOptions(**options))


def test_a_vector_a_text_and_words() -> None:
    handle = RecordingCollection(found("a", 0.25))
    assert search(handle, VECTOR) == [Hit("a", 0.75, "text a", {})]
    search(handle, "Wo?")
    search(handle, "Wo?", keywords="cat", languages=("de",))
    search(handle, VECTOR, keywords="cat")
    (first, by_text, hybrid_text, hybrid_vector) = handle.asked
    assert first[:2] == ("near_vector", VECTOR.tolist())
    assert (first[2]["limit"], first[2]["target_vector"], first[2]["filters"]) == (
        3,
        "lusifer",
        None,
    )
    assert by_text[:2] == ("near_text", "Wo?")
    assert hybrid_text[:2] == ("hybrid", "cat")
    assert hybrid_text[2]["vector"].text == "Wo?"
    assert hybrid_text[2]["filters"].value == ["de"]
    assert (hybrid_text[2]["alpha"], hybrid_text[2]["query_properties"]) == (0.5, ["text"])
    assert hybrid_vector[2]["vector"] == VECTOR.tolist()


def test_a_search_that_can_not_be_made_asks_nothing() -> None:
    handle = RecordingCollection()
    with pytest.raises(InvalidInputError, match="limit is 0"):
        search(handle, "Wo?", limit=0)
    with pytest.raises(InvalidDimensionError):
        search(handle, VECTOR[:8])
    with pytest.raises(InvalidInputError, match="boost"):
        search(handle, VECTOR, keywords="a", languages=("de",), language_boost=0.1)
    for options in ({"where": {"absent": 1}}, {"group_by": "absent"}):
        with pytest.raises(InvalidInputError, match="No document has the field 'absent'"):
            search(handle, VECTOR, **options)
    assert handle.asked == []


def test_a_property_that_came_later_is_known() -> None:
    handle = RecordingCollection(found("a", 0.0))
    assert [hit.id for hit in search(handle, VECTOR, where={"Later": 1})] == ["a"]
    assert handle.asked[0][2]["filters"].target == "later"


def test_a_boost_and_groups_read_deeper() -> None:
    ranking = [found(f"x{n}", n / 1000, book="x", lang="en") for n in range(150)]
    handle = RecordingCollection(*ranking, found("y", 0.2, book="y", lang="de"))
    hits = search(handle, VECTOR, limit=2, group_by="Book")
    assert [hit.id for hit in hits] == ["x0", "y"]
    assert [options["limit"] for _, _, options in handle.asked] == [100, 400]
    handle.asked.clear()
    hits = search(handle, VECTOR, limit=2, group_by="book", languages=("de",), language_boost=0.3)
    assert [(hit.id, round(hit.score, 3)) for hit in hits] == [("y", 1.1), ("x0", 1.0)]


def test_a_boost_is_added_and_ties_keep_their_order() -> None:
    hits = [Hit("a", 0.9, "", {"lang": "en"}), Hit("b", 0.8, "", {"lang": "fr"})]
    options = SearchOptions(languages=("fr",), language_boost=0.1)
    assert [(hit.id, round(hit.score, 6)) for hit in _boosted(hits, options)] == [
        ("a", 0.9),
        ("b", 0.9),
    ]
    assert _boosted(hits, SearchOptions()) == hits


def test_an_object_becomes_a_hit() -> None:
    each = found("a", 0.25, document_sha256="b", lusifer_mark=3, year=2001, none=None)
    assert _hit(each, "text") == Hit("a", 0.75, "text a", {"year": 2001})
    bare = SimpleNamespace(
        uuid=uuid.UUID(int=1),
        properties={},
        metadata=SimpleNamespace(distance=None, score=0.5),
    )
    assert _hit(bare, "text") == Hit("00000000-0000-0000-0000-000000000001", 0.5, "", {})  # type: ignore[arg-type]


def test_values_of_the_client_become_json() -> None:
    from weaviate.classes.data import GeoCoordinate

    given = {
        "day": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        "days": [datetime(2024, 5, 6, 7, 8, 9, 500000)],
        "key": uuid.UUID(int=2),
        "place": GeoCoordinate(latitude=52.5, longitude=13.25),
        "flag": True,
    }
    assert _plain(given) == {
        "day": "2024-05-06T07:08:09Z",
        "days": ["2024-05-06T07:08:09.500000"],
        "key": "00000000-0000-0000-0000-000000000002",
        "place": {"latitude": 52.5, "longitude": 13.25},
        "flag": True,
    }
