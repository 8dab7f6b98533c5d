from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge")

import qdrant_edge as edge
from qdrant_client import models

from lusifer.errors import InvalidInputError
from lusifer.qdrant.filters import build_filter, field_key, language_condition
from lusifer.stores.conditions import parse_condition
from lusifer.types import SearchOptions


@pytest.mark.parametrize("kit", [models, edge], ids=["client", "engine"])
class TestFilters:
    """One builder for the client's models and the engine's; the store's contract says what they find."""

    def test_nothing_asked_for_is_no_filter(self, kit: Any) -> None:
        assert build_filter(kit, SearchOptions()) is None
        assert build_filter(kit, SearchOptions(languages=("de",), language_boost=0.1)) is None

    def test_every_kind_of_value(self, kit: Any) -> None:
        where = {"a": "x", "b": 1, "c": True, "d": 1.5, "e": ["x", "y"], "f": [1, 2]}
        built = build_filter(kit, SearchOptions(where=where, languages=("de",)))
        assert len(built.must) == 7

    @pytest.mark.parametrize("value", [None, [], [True], ["a", 1], [1.5], {"a": 1}, [["a"]]])
    def test_what_can_not_be_compared_is_refused(self, kit: Any, value: Any) -> None:
        with pytest.raises(InvalidInputError, match="filter on 'a'"):
            build_filter(kit, SearchOptions(where={"a": value}))


def test_conditions_for_the_client() -> None:
    options = SearchOptions(
        where={"a.b": "x", "n": [1, 2], "real": 1.5},
        languages=("de", "fr"),
        language_field="tongue",
    )
    assert build_filter(models, options) == models.Filter(
        must=[
            models.Filter(
                should=[
                    models.FieldCondition(key="metadata.a.b", match=models.MatchValue(value="x")),
                    models.FieldCondition(key="metadata.a[].b", match=models.MatchValue(value="x")),
                ]
            ),
            models.FieldCondition(key="metadata.n", match=models.MatchAny(any=[1, 2])),
            models.FieldCondition(key="metadata.real", range=models.Range(gte=1.5, lte=1.5)),
            models.FieldCondition(key="metadata.tongue", match=models.MatchAny(any=["de", "fr"])),
        ]
    )
    assert language_condition(models, SearchOptions(languages=("de",))) == models.FieldCondition(
        key="metadata.lang", match=models.MatchAny(any=["de"])
    )


def test_ranges_and_negations_for_the_client() -> None:
    where = tuple(map(parse_condition, ("n>=2", "day<2024-03-01", "publication date!=x")))
    assert build_filter(models, SearchOptions(where=where)) == models.Filter(
        must=[
            models.FieldCondition(key="metadata.n", range=models.Range(gte=2)),
            models.FieldCondition(
                key="metadata.day", range=models.DatetimeRange(lt=datetime(2024, 3, 1, tzinfo=UTC))
            ),
            models.Filter(
                must_not=[
                    models.FieldCondition(
                        key='metadata."publication date"', match=models.MatchValue(value="x")
                    )
                ]
            ),
        ]
    )


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("lang",), "metadata.lang"),
        (("publication date",), 'metadata."publication date"'),
        (("dc:title", "x/y"), 'metadata."dc:title"."x/y"'),
        (("",), 'metadata.""'),
    ],
)
def test_names_are_quoted_as_qdrant_wants_them(path: tuple[str, ...], key: str) -> None:
    assert field_key(path) == key


@pytest.mark.parametrize("name", ['a"b', "a\\b"])
def test_a_name_that_qdrant_can_not_write_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="a quote or a backslash in its name"):
        field_key((name,))
