"""Payload filters from search options, for the client's models and for the embedded engine alike.

Both libraries name their conditions in the same way, so one builder serves both.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lusifer.errors import InvalidInputError
from lusifer.stores.conditions import as_datetime, conditions_of, parse_path, path_text
from lusifer.types import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer.stores.conditions import Question
    from lusifer.types import JSON, SearchOptions

__all__ = [
    "FilterKit",
    "build_filter",
    "conditions_filter",
    "field_key",
    "has_field",
    "language_condition",
    "question_filter",
]


_VALUES_READ = 20
"""Documents with a field that are read to see its types."""
_DOCUMENTS_READ = 1000
"""Documents that are read to see which fields there are."""


class FilterKit(Protocol):
    """Classes of conditions: the module ``qdrant_client.models``, or the module ``qdrant_edge``.

    The class of a range has another name in each: ``Range`` and ``RangeFloat``, ``DatetimeRange``
    and ``RangeDateTime``.
    """

    Filter: Callable[..., object]
    FieldCondition: Callable[..., object]
    MatchAny: Callable[..., object]
    MatchValue: Callable[..., object]


def build_filter(kit: FilterKit, options: SearchOptions) -> object | None:
    """Return a ``Filter`` whose conditions must all match, or None where nothing is filtered.

    Raises:
        InvalidInputError: Qdrant can't compare with a value.
    """
    return conditions_filter(kit, conditions_of(options))


def conditions_filter(kit: FilterKit, conditions: Sequence[Condition]) -> object | None:
    """Return a ``Filter`` whose conditions must all match; None without conditions.

    Raises:
        InvalidInputError: Qdrant can't look at a field of such a name.
    """
    return kit.Filter(must=[_condition(kit, each) for each in conditions]) if conditions else None


def language_condition(kit: FilterKit, options: SearchOptions) -> object:
    """Return the condition that matches documents in one of the languages."""
    path = parse_path(options.language_field)
    return _condition(kit, Condition(path, "=", list(options.languages)))


def has_field(kit: FilterKit, path: Sequence[str]) -> object:
    """Return the ``Filter`` for documents that have a field with a value."""
    # The client's class takes an object for the field, the engine's its name.
    empty: Callable[[str], object] = (
        kit.IsEmptyCondition  # type: ignore[attr-defined]
        if hasattr(kit, "EdgeShard")
        else lambda key: kit.IsEmptyCondition(  # type: ignore[attr-defined]
            is_empty=kit.PayloadField(key=key)  # type: ignore[attr-defined]
        )
    )
    return kit.Filter(should=[kit.Filter(must_not=[empty(key)]) for key in _keys(path)])


def question_filter(kit: FilterKit, question: Question) -> tuple[Any, int]:
    """Return the ``Filter`` and the number of points that answer a question about documents."""
    if question.kind == "values":
        return has_field(kit, question.condition.path), _VALUES_READ
    if question.kind == "matches":
        return conditions_filter(kit, [question.condition]), 1
    return None, _DOCUMENTS_READ


def field_key(path: Sequence[str]) -> str:
    """Return the key of a metadata field in the payload, as a JSON path of Qdrant.

    Raises:
        InvalidInputError: Qdrant has no way to write the name.
    """
    for name in path:
        if re.search(r'["\\]', name):
            raise InvalidInputError(
                f"The field {path_text(path)!r} has a quote or a backslash in its name, and Qdrant "
                "can't filter by such a field.",
                next_step="Rename the field.",
            )
    return ".".join(("metadata", *map(_key_part, path)))


def _keys(path: Sequence[str]) -> list[str]:
    """Return the keys of a field where each outer name may be an object or a list of objects."""
    field_key(path)
    outer = [(_key_part(name), f"{_key_part(name)}[]") for name in path[:-1]]
    return [".".join(("metadata", *names, _key_part(path[-1]))) for names in product(*outer)]


def _key_part(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def _condition(kit: FilterKit, condition: Condition) -> object:
    made = [_comparison(kit, key, condition) for key in _keys(condition.path)]
    positive = made[0] if len(made) == 1 else kit.Filter(should=made)
    return kit.Filter(must_not=[positive]) if condition.operator == "!=" else positive


def _comparison(kit: FilterKit, key: str, condition: Condition) -> object:
    value = condition.value
    if condition.operator not in {"=", "!="}:
        name = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[condition.operator]
        return kit.FieldCondition(key=key, range=_range(kit, {name: value}))
    if isinstance(value, bool) and hasattr(kit, "EdgeShard"):
        # The engine's binding (0.9.0) takes Python's True for the number 1, and numpy's for a truth
        # value.
        return kit.FieldCondition(key=key, match=kit.MatchValue(value=np.bool_(value)))
    if isinstance(value, float):
        return kit.FieldCondition(key=key, range=_range(kit, {"gte": value, "lte": value}))
    if isinstance(value, list | tuple):
        return kit.FieldCondition(key=key, match=kit.MatchAny(any=list(value)))
    return kit.FieldCondition(key=key, match=kit.MatchValue(value=value))


def _range(kit: FilterKit, ends: dict[str, JSON]) -> object:
    """Return a range of numbers or times, by the client's name for it or the engine's."""
    (first, *_) = ends.values()
    if isinstance(first, str):
        times = {name: as_datetime(str(end)) for name, end in ends.items()}
        if hasattr(kit, "RangeDateTime"):
            made: object = kit.RangeDateTime(
                **{name: time and time.isoformat() for name, time in times.items()}
            )
        else:
            made = kit.DatetimeRange(**times)  # type: ignore[attr-defined]
        return made
    # A Protocol can't say "one of both".
    ranges = getattr(kit, "Range", None) or kit.RangeFloat  # type: ignore[attr-defined]
    return ranges(**ends)
