"""Conditions on properties, in the types that Weaviate insists on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError
from lusifer.stores.conditions import (
    as_datetime,
    conditions_of,
    missing_field,
    path_text,
    wrong_type,
)
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weaviate.classes.query import FilterReturn

    from lusifer.types import Condition, SearchOptions

__all__ = ["build_filters", "check_properties", "wanted_conditions"]

_COMPARABLE = {
    "text": "text",
    "int": "number",
    "number": "number",
    "boolean": "true or false",
    "uuid": "text",
    "date": "text (a date)",
}
"""Data types, also as lists, that a filter can compare, and what to compare them with."""


def wanted_conditions(options: SearchOptions) -> list[Condition]:
    """Return the conditions on properties, with their names as Weaviate stores them."""
    return [
        replace(each, path=(property_name(each.path[0]), *each.path[1:]))
        for each in conditions_of(options)
    ]


def check_properties(names: Sequence[str], data_types: Mapping[str, str]) -> None:
    """Refuse names of properties that a collection does not have.

    Raises:
        InvalidInputError: There is no such property.
    """
    for name in names:
        if name not in data_types:
            raise missing_field((name,), data_types)


def build_filters(
    conditions: Sequence[Condition], data_types: Mapping[str, str]
) -> list[FilterReturn]:
    """Return a filter for each condition.

    Args:
        conditions: Conditions that an object must meet.
        data_types: Data type of each property, as in the schema.

    Raises:
        InvalidInputError: There is no such property, it is of another type, or it is inside an
            object, where Weaviate can't look.
    """
    from weaviate.classes.query import Filter

    filters: list[FilterReturn] = []
    for condition in conditions:
        if len(condition.path) > 1:
            raise InvalidInputError(
                f"The filter on {path_text(condition.path)!r} looks inside an object, and Weaviate "
                "can't do that.",
                next_step="Keep the value in a property of its own.",
            )
        name = condition.path[0]
        if name not in data_types:
            raise missing_field(condition.path, data_types)
        kind = data_types[name].removesuffix("[]")
        value = condition.value
        values = list(value) if isinstance(value, list | tuple) else [value]
        compared = [_as_type(kind, each) for each in values]
        if None in compared or (
            condition.operator not in {"=", "!="} and kind not in {"int", "number", "date"}
        ):
            raise wrong_type(condition, _COMPARABLE.get(kind, kind))
        where = Filter.by_property(name)
        if isinstance(value, list | tuple):
            made = where.contains_any(compared)  # type: ignore[arg-type]  # each list is of one type
        elif condition.operator in {"=", "!="}:
            made = where.equal(compared[0])
        else:
            compare = {
                "<": where.less_than,
                "<=": where.less_or_equal,
                ">": where.greater_than,
                ">=": where.greater_or_equal,
            }[condition.operator]
            made = compare(compared[0])
        filters.append(Filter.not_(made) if condition.operator == "!=" else made)
    return filters


def _as_type(kind: str, value: object) -> bool | int | float | str | None:
    """Return a value in the data type of its property; None where the property can't have it."""
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind in {"int", "number"}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if kind == "number" or isinstance(value, int):
            return float(value) if kind == "number" else value
        return int(value) if value.is_integer() else None
    if not isinstance(value, str) or kind not in _COMPARABLE:
        return None
    if kind == "date":
        time = as_datetime(value)
        return None if time is None else time.isoformat()
    return value
