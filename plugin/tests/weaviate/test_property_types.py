from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("weaviate")
from lusifer.weaviate.property_types import PropertyType, as_property, infer_types

DATE, TEXT = "2020-01-01T00:00:00Z", "unknown"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([DATE, "2020-01-01T00:00:00.5+02:00"], "date"),
        ([DATE, TEXT], "text"),
        ([TEXT, DATE], "text"),
        (["5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665"], "text"),
        ([1, 2.5], "number"),
        ([True, None, False], "boolean"),
        ([[1, 2], [0.5]], "number[]"),
        ([[], [DATE], [TEXT]], "text[]"),
        ([[DATE], [DATE, DATE]], "date[]"),
        ([1, "a", "b"], "text"),
        ([{"latitude": 1.5, "longitude": 2}], "geoCoordinates"),
    ],
)
def test_a_type_is_that_of_all_values(values: list[Any], kind: str) -> None:
    assert infer_types({"a": value} for value in values) == {"a": PropertyType(kind)}


@pytest.mark.parametrize("value", [None, [], {}, [1, "a"], {"a": None}])
def test_some_values_tell_no_type(value: Any) -> None:
    assert infer_types([{"a": value}]) == {}


def test_an_object_has_the_fields_of_all() -> None:
    rows: list[Any] = [
        {"by": {"name": "Ada", "born": DATE}},
        {"by": {"name": "Bo", "born": "long ago", "tags": ["x"]}},
        {"by": {"home": {"n": 1}}, "all": [{"a": 1}, {"b": "c"}]},
    ]
    assert infer_types(rows) == {
        "by": PropertyType(
            "object",
            {
                "name": PropertyType("text"),
                "born": PropertyType("text"),
                "tags": PropertyType("text[]"),
                "home": PropertyType("object", {"n": PropertyType("number")}),
            },
        ),
        "all": PropertyType("object[]", {"a": PropertyType("number"), "b": PropertyType("text")}),
    }


SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.just(DATE)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=2)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), max_size=6), st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Any], random: Any) -> None:
    """But where two kinds are as frequent."""
    found = infer_types(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    other = infer_types(shuffled)
    for name, kind in found.items():
        values = [row[name] for row in rows if row.get(name) is not None]
        if all(isinstance(value, str) for value in values):
            assert other[name] == kind


def test_a_property_as_the_client_takes_it() -> None:
    kind = PropertyType("object", {"n": PropertyType("number[]")})
    made = as_property("by", kind)
    assert (made.name, made.dataType.value) == ("by", "object")
    nested: Any = made.nestedProperties
    (inner,) = nested
    assert (inner.name, inner.dataType.value) == ("n", "number[]")
