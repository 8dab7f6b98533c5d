"""Compose the text that Weaviate's modules embed for an object, by the same rules.

Vectors made here and vectors made by the server lie in one index, so both must be of the same text.
The rules are those of Weaviate 1.39, ``usecases/modulecomponents/vectorizer/object_texts.go``:

1. the collection's name first, if ``vectorizeClassName``, its camel case split by spaces;
2. then the properties in the order of their names' bytes, whatever the order of the source
   properties;
3. texts as they are; numbers, booleans, dates and objects only where source properties are named;
   lists of dates, UUIDs, coordinates and telephone numbers never;
4. each value after its property's name, if ``vectorizePropertyName``;
5. all joined by single spaces. Where there is nothing to join, the object gets no vector; where no
   source properties are named either, the collection's name is embedded.

The first letter of a property's name is small, as in every Weaviate schema.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

__all__ = [
    "TextRules",
    "compose_text",
    "go_float",
    "is_date",
    "property_name",
    "split_camel_case",
]

_SILENT = frozenset({"uuid", "uuid[]", "date[]", "geoCoordinates", "phoneNumber"})
"""Data types that no module reads."""
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class TextRules:
    """Rules by which a collection composes the text of one of its vectors."""

    collection: str
    """Name of the collection."""
    source_properties: tuple[str, ...] = ()
    """Properties to embed; empty means all text properties that are not skipped."""
    vectorize_collection_name: bool = False
    """Whether the collection's name stands before the text."""
    skipped: frozenset[str] = frozenset()
    """Properties to leave out where no source properties are named."""
    named: frozenset[str] = frozenset()
    """Properties whose name stands before each value."""
    data_types: Mapping[str, str] = field(default_factory=dict)
    """Data type of a property as in the schema, such as ``text``, ``date`` or ``uuid[]``; the key
    of one within an object is its path, ``author.born``. The values show the types of others."""
    lower_case: bool = False
    """Whether the server runs with ``LOWERCASE_VECTORIZATION_INPUT``."""


def compose_text(properties: Mapping[str, object], rules: TextRules) -> str:
    """Compose the text that Weaviate embeds for an object; empty where it would make no vector.

    Args:
        properties: The object's properties as imported: JSON values, dates also as ``datetime``.
        rules: Rules of the collection.
    """
    lower = _go_lower if rules.lower_case else str
    parts = []
    if rules.vectorize_collection_name:
        parts.append(lower(split_camel_case(rules.collection)))
    by_name = {property_name(name): value for name, value in properties.items()}
    for name in sorted(by_name, key=str.encode):
        if rules.source_properties:
            if name not in rules.source_properties:
                continue
        elif name in rules.skipped:
            continue
        for value in _values(by_name[name], name, rules):
            parts.append(
                lower(f"{split_camel_case(name)} {value}" if name in rules.named else value)
            )
    if not rules.source_properties and not parts:
        parts.append(lower(split_camel_case(rules.collection)))
    return " ".join(parts)


def is_date(text: str) -> bool:
    """Return whether Weaviate takes a text for a date: RFC 3339 with an offset."""
    return _DATE.fullmatch(text) is not None


def property_name(name: str) -> str:
    """Return a property's name as Weaviate stores it: ``Title`` becomes ``title``."""
    return name[:1].lower() + name[1:]


def split_camel_case(name: str) -> str:
    """Split ``PDFLoaderV2`` into ``PDF Loader V 2``, as github.com/fatih/camelcase does."""
    runs: list[list[str]] = []
    last = None
    for character in name:
        kind = _kind(character)
        if kind == last:
            runs[-1].append(character)
        else:
            runs.append([character])
        last = kind
    for first, second in pairwise(runs):
        # "PDFL", "oader" becomes "PDF", "Loader".
        if first and _kind(first[0]) == "upper" and _kind(second[0]) == "lower":
            second.insert(0, first.pop())
    words = ["".join(run) for run in runs if run]
    return "".join((" " if index else "") + word for index, word in enumerate(words) if word != " ")


def go_float(value: float, *, plain_from: int = -4, plain_below: int = 6) -> str:
    """Write a finite number as Go's ``%v`` does.

    Args:
        value: The number.
        plain_from: Least power of ten that is written without an exponent.
        plain_below: Power of ten from which numbers are written with an exponent.

    Raises:
        ValueError: The number is not finite.
    """
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not finite")
    minus = "-" if sign else ""
    point = len(digits) + exponent
    number = "".join(map(str, digits))
    if value == 0:
        return f"{minus}0"
    if not plain_from <= point - 1 < plain_below:
        fraction = f".{number[1:]}" if len(number) > 1 else ""
        return f"{minus}{number[0]}{fraction}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{number}"
    if point >= len(number):
        return f"{minus}{number}{'0' * (point - len(number))}"
    return f"{minus}{number[:point]}.{number[point:]}"


def _values(value: object, name: str, rules: TextRules) -> list[str]:
    """Return the texts of a property's value; several for a list."""
    kind, all_types = rules.data_types.get(name, ""), bool(rules.source_properties)
    if kind in _SILENT:
        return []
    if kind == "date" or isinstance(value, datetime):
        return [_date(value, fraction=False)] if all_types and value is not None else []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return list(map(str, value))
        if not all_types:
            return []
        if isinstance(value[0], Mapping):
            return [_go_json(value, name, rules.data_types)]
        return [_scalar(item) for item in value]
    if not all_types or value is None:
        return []
    if isinstance(value, Mapping):
        return [_go_json(value, name, rules.data_types)]
    return [_scalar(value)]


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return go_float(float(value)) if isinstance(value, int | float) else str(value)


def _date(value: object, *, fraction: bool) -> str:
    """Write a date as Go writes RFC 3339, with Z for no offset.

    A text that is no date stays as it is; the server refuses it.
    """
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if not (found := _DATE.fullmatch(text)):
        return text
    day, time, part, zone = found.groups()
    part = part.rstrip("0") if fraction and part else ""
    zone = "Z" if zone in {"z", "+00:00", "-00:00"} else zone
    return f"{day}T{time}{'.' if part else ''}{part}{zone}"


def _go_json(value: object, path: str, kinds: Mapping[str, str]) -> str:
    """Write JSON as Go's encoder does: sorted keys, no spaces, <, > and & escaped for HTML."""
    if isinstance(value, Mapping):
        fields = (
            f"{_go_json(key, '', kinds)}:{_go_json(value[key], f'{path}.{key}', kinds)}"
            for key in sorted(value, key=str.encode)
        )
        return "{" + ",".join(fields) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_go_json(item, path, kinds) for item in value) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return go_float(float(value), plain_from=-6, plain_below=21).replace("e-0", "e-")
    if isinstance(value, datetime) or kinds.get(path, "").startswith("date"):
        value = _date(value, fraction=True)
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _go_lower(text: str) -> str:
    """Convert to lower case letter by letter, as Go does.

    Python's own conversion differs for a sigma at the end of a word and for a dotted capital I.
    """
    return "".join(character.lower()[0] for character in text)


def _kind(character: str) -> str:
    """Return the class by which a name is split: lower, upper, digit or other."""
    category = unicodedata.category(character)
    return {"Ll": "lower", "Lu": "upper", "Nd": "digit"}.get(category, "other")
