"""Types of properties that a collection does not have yet, from all values that are to be written.

Weaviate takes the type from the first object that has a property: after a date, it refuses every
other text. Here, all documents of a window are looked at before the first is written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from lusifer.weaviate.text_composition import is_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weaviate.classes.config import Property
    from weaviate.collections import Collection

    from lusifer.types import JSON
    from lusifer.weaviate.repair import Call

__all__ = ["PropertyType", "add_properties", "as_property", "infer_types"]


_PLACE = {"latitude", "longitude"}


@dataclass(frozen=True)
class PropertyType:
    """Data type of a property."""

    name: str
    """Name in the schema: text, date, number, boolean, object, or a list of these, ``text[]``."""
    nested: Mapping[str, PropertyType] = field(default_factory=dict)
    """Types of the fields of an object."""


def add_properties(
    handle: Collection, known: set[str], rows: Sequence[Mapping[str, JSON]], call: Call
) -> None:
    """Add the properties that a collection lacks, typed by all rows that have them.

    Args:
        handle: The collection.
        known: Properties that it is known to have; those that it has then are added.
        rows: Properties of each object that is about to be written.
        call: Runs each request, with retries.
    """
    lacking = {name for row in rows for name in row} - known
    if not lacking:
        return
    # Somebody else may have added them meanwhile.
    known |= {each.name for each in call(handle.config.get).properties}
    kinds = infer_types({name: row[name] for name in lacking & row.keys()} for row in rows)
    for name in sorted(kinds.keys() - known):
        call(partial(handle.config.add_property, as_property(name, kinds[name])))
    known |= kinds.keys()


def infer_types(rows: Iterable[Mapping[str, JSON]]) -> dict[str, PropertyType]:
    """Return the types of all properties of some objects.

    A property whose values are of several kinds gets that of most of them; Weaviate refuses the
    others. Texts are dates only if all of them are. A property has no type if all its values are
    null, or empty lists or objects.

    Args:
        rows: Properties of each object.
    """
    values: dict[str, list[JSON]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    found = {name: _type_of(each) for name, each in values.items()}
    return {name: each for name, each in found.items() if each is not None}


def as_property(name: str, kind: PropertyType) -> Property:
    """Return a property as the client takes it."""
    from weaviate.classes.config import DataType, Property

    nested = [as_property(inner, each) for inner, each in kind.nested.items()]
    return Property(name=name, data_type=DataType(kind.name), nested_properties=nested or None)


def _type_of(values: Sequence[JSON]) -> PropertyType | None:
    """Return the type of a property with these values; None if no value has one."""
    kinds = Counter(kind for value in values if (kind := _kind(value)))
    if not kinds:
        return None
    ((kind, _),) = kinds.most_common(1)
    suffix = "[]" if kind.endswith("[]") else ""
    items = list(_items(values, kind))
    base = kind.removesuffix("[]")
    if base == "object" and all(isinstance(each, dict) and each.keys() == _PLACE for each in items):
        # Weaviate reads such an object as coordinates, whatever the schema says.
        return PropertyType("geoCoordinates") if not suffix else None
    if base == "object":
        nested = infer_types(each for each in items if isinstance(each, dict))
        return PropertyType(kind, nested) if nested else None
    if base == "text" and all(isinstance(each, str) and is_date(each) for each in items):
        base = "date"
    return PropertyType(base + suffix)


def _items(values: Sequence[JSON], kind: str) -> Iterator[JSON]:
    """Yield the values of one kind, those of lists one by one."""
    for value in values:
        if _kind(value) == kind:
            if isinstance(value, list | tuple):
                yield from value
            else:
                yield value


def _kind(value: object) -> str:
    """Return the kind of a value; empty if it has none."""
    if isinstance(value, list | tuple):
        kinds = {_kind(each) for each in value} - {""}
        return f"{kinds.pop()}[]" if len(kinds) == 1 else ""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object" if value else ""
    return "text" if isinstance(value, str) else ""
