"""Conditions on properties, in the types that Weaviate insists on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weaviate.classes.query import FilterReturn

    from lusifer.types import JSON, SearchOptions

__all__ = ["build_filters", "wanted_values"]

_COMPARABLE = frozenset({"text", "int", "number", "boolean", "uuid", "date"})
"""Data types, also as lists, that a filter can compare."""


def wanted_values(options: SearchOptions) -> dict[str, JSON]:
    """Return for each property the value or values that a document must have."""
    wanted = dict(options.where)
    if options.languages and not options.language_boost:
        wanted[options.language_field] = list(options.languages)
    return wanted


def build_filters(
    wanted: Mapping[str, JSON], data_types: Mapping[str, str]
) -> list[FilterReturn] | None:
    """Return a condition for each property, or None where no object can match.

    Args:
        wanted: Property to the value, or the list of values, that an object must have.
        data_types: Data type of each property, as in the schema.

    Raises:
        InvalidInputError: Weaviate can't compare a value, or can't look inside an object.
    """
    from weaviate.classes.query import Filter

    conditions: list[FilterReturn] = []
    for name, value in wanted.items():
        values = _comparable(name, value)
        if "." in name:
            raise InvalidInputError(
                f"The filter on {name!r} looks inside an object, and Weaviate can't do that.",
                next_step="Keep the value in a property of its own.",
            )
        kind = data_types.get(name, "").removesuffix("[]")
        compared = [item for item in (_as_type(kind, each) for each in values) if item is not None]
        if kind not in _COMPARABLE or len(compared) < len(values):
            # No such property, or one that can't have such a value.
            return None
        where = Filter.by_property(name)
        conditions.append(
            where.contains_any(compared)  # type: ignore[arg-type]  # each list is of one type
            if isinstance(value, list | tuple)
            else where.equal(compared[0])
        )
    return conditions


def _comparable(name: str, value: JSON) -> list[bool | int | float | str]:
    """Return the values of a filter as a list.

    Raises:
        InvalidInputError: A value is no text, number or truth value, or a list is empty or mixed.
    """
    if isinstance(value, bool | int | float | str):
        return [value]
    if isinstance(value, list | tuple) and {type(item) for item in value} in ({str}, {int}):
        return list(value)
    raise InvalidInputError(
        f"The filter on {name!r} has the value {value!r}.",
        next_step="Compare with a text, a number, true, or a list of texts or whole numbers.",
    )


def _as_type(kind: str, value: bool | int | float | str) -> bool | int | float | str | None:
    """Return a value in the data type of its property; None where the property can't have it."""
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind in {"int", "number"}:
        if isinstance(value, bool | str):
            return None
        if kind == "number" or isinstance(value, int):
            return float(value) if kind == "number" else value
        return int(value) if value.is_integer() else None
    return value if isinstance(value, str) else None
