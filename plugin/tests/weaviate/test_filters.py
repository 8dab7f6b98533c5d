"""Conditions in the types that Weaviate insists on, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from lusifer.errors import InvalidInputError
from lusifer.stores.conditions import filters_of, parse_condition
from lusifer.types import Condition, SearchOptions
from lusifer.weaviate.filters import _as_type, build_filters, wanted_conditions

pytest.importorskip("weaviate")

TYPES = {
    "lang": "text",
    "tags": "text[]",
    "year": "int",
    "price": "number",
    "open": "boolean",
    "key": "uuid",
    "day": "date",
    "author": "object",
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, []),
        ({"lang": "en"}, [("lang", "EQUAL", "en")]),
        ({"lang": ["de", "fr"]}, [("lang", "CONTAINS_ANY", ["de", "fr"])]),
        ({"tags": "a"}, [("tags", "EQUAL", "a")]),
        ({"year": 2001.0}, [("year", "EQUAL", 2001)]),
        ({"price": 2}, [("price", "EQUAL", 2.0)]),
        ({"price": [1, 2]}, [("price", "CONTAINS_ANY", [1.0, 2.0])]),
        ({"open": False}, [("open", "EQUAL", False)]),
        ({"lang": "en", "year": 1}, [("lang", "EQUAL", "en"), ("year", "EQUAL", 1)]),
        ({"day": "2024-05-06"}, [("day", "EQUAL", "2024-05-06T00:00:00+00:00")]),
    ],
)
def test_conditions(wanted: dict[str, Any], expected: Any) -> None:
    made = build_filters(filters_of(wanted), TYPES)
    found = [(each.target, each.operator.name, each.value) for each in made]  # type: ignore[attr-defined]
    assert found == expected
    for given, (_, _, value) in zip(found, expected, strict=True):
        assert type(given[2]) is type(value)


def test_ranges_and_negations() -> None:
    made: Any = build_filters(list(map(parse_condition, ("year>=2000", "day<2024-01-01"))), TYPES)
    assert [(each.operator.name, each.value) for each in made] == [
        ("GREATER_THAN_EQUAL", 2000),
        ("LESS_THAN", "2024-01-01T00:00:00+00:00"),
    ]
    (other,) = build_filters([parse_condition("lang!=en")], TYPES)
    assert type(other).__name__ == "_FilterNot"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("absent=x", "No document has the field 'absent'; the fields are lang .text., tags"),
        ("lang:=1", "'lang' holds text; the filter compares it with 1"),
        ("year:=1.5", "'year' holds number"),
        ('year:=["a"]', "'year' holds number"),
        ("open:=1", "'open' holds true or false"),
        ("day=May", "'day' holds text .a date."),
        ("lang>1", "'lang' holds text"),
        ("author=Ada", "'author' holds object"),
    ],
)
def test_a_condition_that_nothing_can_meet_is_refused(condition: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        build_filters([parse_condition(condition)], TYPES)


@pytest.mark.parametrize("value", [None, [], ["a", 1], [True], [1.5], {"a": 1}])
def test_a_value_that_can_not_be_compared_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="filter on 'lang' has the value"):
        build_filters(filters_of({"lang": value}), TYPES)


def test_a_field_inside_an_object_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"filter on 'author.name' looks inside an object"):
        build_filters(filters_of({"author.name": "Ada"}), TYPES)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("boolean", True, True),
        ("boolean", 1, None),
        ("int", 3, 3),
        ("int", 3.0, 3),
        ("int", 3.5, None),
        ("int", float("inf"), None),
        ("int", True, None),
        ("int", "3", None),
        ("number", 3, 3.0),
        ("number", False, None),
        ("number", "3", None),
        ("text", "3", "3"),
        ("text", 3, None),
        ("date", "2024-05-06T07:08:09Z", "2024-05-06T07:08:09+00:00"),
        ("date", "May", None),
        ("author", "Ada", None),
        ("uuid", True, None),
    ],
)
def test_a_value_in_the_type_of_its_property(kind: str, value: Any, expected: Any) -> None:
    made = _as_type(kind, value)
    assert (made, type(made)) == (expected, type(expected))


def test_languages_are_demanded_unless_they_are_preferred() -> None:
    year = Condition(("year",), "=", 1)
    assert wanted_conditions(SearchOptions(where={"Year": 1}, languages=("de", "fr"))) == [
        year,
        Condition(("lang",), "=", ["de", "fr"]),
    ]
    preferred = SearchOptions(where={"year": 1}, languages=("de",), language_boost=0.1)
    assert wanted_conditions(preferred) == [year]
