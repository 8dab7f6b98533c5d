"""Payload filters from search options, for the client's models and for the embedded engine alike.

Both libraries name their conditions in the same way, so one builder serves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.types import JSON, SearchOptions

__all__ = ["FilterKit", "build_filter", "language_condition"]


class FilterKit(Protocol):
    """Classes of conditions: the module ``qdrant_client.models``, or the module ``qdrant_edge``.

    The class of a range has another name in each: ``Range`` and ``RangeFloat``.
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
    conditions = [_condition(kit, key, value) for key, value in options.where.items()]
    if options.languages and not options.language_boost:
        conditions.append(language_condition(kit, options))
    return kit.Filter(must=conditions) if conditions else None


def language_condition(kit: FilterKit, options: SearchOptions) -> object:
    """Return the condition that matches documents in one of the languages."""
    return _condition(kit, options.language_field, list(options.languages))


def _condition(kit: FilterKit, key: str, value: JSON) -> object:
    path = f"metadata.{key}"
    if isinstance(value, bool) and hasattr(kit, "EdgeShard"):
        # The engine's binding (0.9.0) takes Python's True for the number 1, and numpy's for a truth
        # value.
        return kit.FieldCondition(key=path, match=kit.MatchValue(value=np.bool_(value)))
    if isinstance(value, bool | int | str):
        return kit.FieldCondition(key=path, match=kit.MatchValue(value=value))
    if isinstance(value, list | tuple) and {type(item) for item in value} in ({str}, {int}):
        return kit.FieldCondition(key=path, match=kit.MatchAny(any=list(value)))
    if isinstance(value, float):
        # The client's name for it, or the engine's; a Protocol can't say "one of both".
        ranges = getattr(kit, "Range", None) or kit.RangeFloat  # type: ignore[attr-defined]
        return kit.FieldCondition(key=path, range=ranges(gte=value, lte=value))
    raise InvalidInputError(
        f"The filter on {key!r} has the value {value!r}.",
        next_step="Compare with a text, a number, true or false, or a list of texts or of whole "
        "numbers.",
    )
