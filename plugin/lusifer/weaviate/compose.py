"""The text that Weaviate's modules embed for an object, composed here by the same rules.

Vectors made here and vectors made by the server lie in one index, so both must read the very same text. The
rules are those of Weaviate 1.39, ``usecases/modulecomponents/vectorizer/object_texts.go``:

1. the collection's name first, if ``vectorizeClassName``, its camel case split by spaces;
2. then the properties in the order of their names' bytes, whatever the order of the source properties;
3. texts as they are; other types only where source properties are named;
4. each value after its property's name, if ``vectorizePropertyName``;
5. joined by single spaces; nothing at all means no vector, or the collection's name where no source
   properties are named.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

__all__ = ["TextRules", "compose_text", "go_float", "split_camel_case"]


@dataclass(frozen=True)
class TextRules:
    """What a collection says about the text of one of its vectors."""

    collection: str
    source_properties: tuple[str, ...] = ()
    """Empty: all text properties that are not skipped."""
    vectorize_collection_name: bool = False
    skipped: frozenset[str] = frozenset()
    named: frozenset[str] = field(default_factory=frozenset)
    """Properties whose name stands before each value."""
    lower_case: bool = False
    """``LOWERCASE_VECTORIZATION_INPUT`` of the server."""


def compose_text(properties: Mapping[str, Any], rules: TextRules) -> str:
    """The text Weaviate embeds for an object; empty where it would make no vector.

    Args:
        properties: As they are imported: JSON values, dates also as ``datetime``.
        rules: Of the collection.
    """
    parts = []
    if rules.vectorize_collection_name:
        parts.append(split_camel_case(rules.collection))
    for name in sorted(properties, key=lambda each: each.encode()):
        if rules.source_properties:
            if name not in rules.source_properties:
                continue
        elif name in rules.skipped:
            continue
        for value in _values(properties[name], all_types=bool(rules.source_properties)):
            parts.append(f"{split_camel_case(name)} {value}" if name in rules.named else value)
    if not rules.source_properties and not parts:
        parts.append(split_camel_case(rules.collection))
    text = " ".join(parts)
    return text.lower() if rules.lower_case else text


def split_camel_case(name: str) -> str:
    """``PDFLoaderV2`` as ``PDF Loader V 2``, after fatih/camelcase."""
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


def go_float(value: float) -> str:
    """A finite number as Go's ``%v`` writes it: ``2001``, ``0.1``, from seven digits on ``1.2345678e+07``."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not finite")
    minus = "-" if sign else ""
    point = len(digits) + exponent
    number = "".join(map(str, digits))
    if value == 0:
        return f"{minus}0"
    if not -4 <= point - 1 < 6:
        fraction = f".{number[1:]}" if len(number) > 1 else ""
        return f"{minus}{number[0]}{fraction}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{number}"
    if point >= len(number):
        return f"{minus}{number}{'0' * (point - len(number))}"
    return f"{minus}{number[:point]}.{number[point:]}"


def _values(value: Any, *, all_types: bool) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return list(value)
        if not all_types:
            return []
        if value and isinstance(value[0], Mapping):
            return [_go_json(list(value))]
        return [_scalar(item) for item in value]
    if not all_types or value is None:
        return []
    return [_go_json(value)] if isinstance(value, Mapping) else [_scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return go_float(float(value))
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _go_json(value: Any) -> str:
    """JSON as Go's encoder writes it: sorted keys, no spaces, and <, > and & escaped for HTML."""
    text = json.dumps(_go_numbers(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _go_numbers(value: Any) -> Any:
    """All numbers are float64 on the way: 1.0 is written 1."""
    if isinstance(value, Mapping):
        return {str(key): _go_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_go_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, datetime):
        return _scalar(value)
    return value


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    return {"Ll": "lower", "Lu": "upper", "Nd": "digit"}.get(category, "other")
