from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import InvalidInputError
from lusifer.stores.conditions import (
    as_datetime,
    parse_condition,
    parse_path,
    path_text,
    values_at,
)
from lusifer.types import Condition

if TYPE_CHECKING:
    from lusifer.types import JSON


@pytest.mark.parametrize(
    ("text", "path", "operator", "value"),
    [
        ("lang=en", ("lang",), "=", "en"),
        ("lang!=en", ("lang",), "!=", "en"),
        ("a.b=c=d", ("a", "b"), "=", "c=d"),
        ("year:=2024", ("year",), "=", 2024),
        ("year:!=2024", ("year",), "!=", 2024),
        ("open:=true", ("open",), "=", True),
        ('lang:=["de","fr"]', ("lang",), "=", ["de", "fr"]),
        ("year>=2020", ("year",), ">=", 2020),
        ("price<1.5", ("price",), "<", 1.5),
        ("price>-1e3", ("price",), ">", -1000.0),
        ("day<=2024-03-01", ("day",), "<=", "2024-03-01"),
        ("publication date=2020", ("publication date",), "=", "2020"),
        ("dc:title=x", ("dc:title",), "=", "x"),
        ('"x=y"."a.b"<3', ("x=y", "a.b"), "<", 3),
        ('"say \\"hi\\""=x', ('say "hi"',), "=", "x"),
        ('size"=3', ('size"',), "=", "3"),
        ("empty=", ("empty",), "=", ""),
        ("multi=a\nb", ("multi",), "=", "a\nb"),
    ],
)
def test_a_condition(text: str, path: tuple[str, ...], operator: str, value: JSON) -> None:
    assert parse_condition(text) == Condition(path, operator, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lang", "'lang' is no condition"),
        ("=en", "'=en' is no condition"),
        (":=1", "':=1' is no condition"),
        ("a..b=1", "has an empty name"),
        ("a.=1", "has an empty name"),
        ("a[0]=1", "names a place in a list"),
        ("year:=x", "'x' is not JSON"),
        ("name>b", "compares a range with 'b'"),
        ("day>2024-13-01", "compares a range with"),
        ("open:=null", "has the value None"),
        ("open:=[]", r"has the value \[\]"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_condition(text)


@given(st.lists(st.text(), min_size=1))
def test_any_path_can_be_written(path: list[str]) -> None:
    assert parse_path(path_text(path)) == tuple(path)


@given(st.lists(st.text(), min_size=1), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
def test_any_path_can_stand_in_a_condition(path: list[str], operator: str) -> None:
    condition = parse_condition(f"{path_text(path)}{operator}1")
    assert (condition.path, condition.operator) == (tuple(path), operator)


def test_values_of_objects_and_lists() -> None:
    metadata: JSON = {"a": [{"b": 1}, {"b": [2, 3]}, {}, 4], "n": None, "e": []}
    assert values_at(metadata, ("a", "b")) == [1, 2, 3]
    assert values_at(metadata, ("n",)) == values_at(metadata, ("e",)) == []
    assert values_at(metadata, ("a", "b", "c")) == []


def test_dates() -> None:
    assert as_datetime("2024-03-01T01:00:00+01:00") == as_datetime("2024-03-01")
    for text in ("2024", "20240301", "March", "2024-02-30"):
        assert as_datetime(text) is None
