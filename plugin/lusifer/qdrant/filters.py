"""Payload filters from search options, for the client's models and for the embedded engine alike.

Both libraries name their conditions the same way, so one builder serves both: ``kit`` is the module
``qdrant_client.models`` or ``qdrant_edge``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from lusifer.types import JSON, SearchOptions

__all__ = ["build_filter", "language_condition"]


def build_filter(kit: Any, options: SearchOptions) -> Any | None:
    """A ``Filter`` in which all must match, or None where nothing is asked for.

    Raises:
        InvalidInputError: A value that Qdrant can't compare.
    """
    conditions = [_condition(kit, key, value) for key, value in options.where.items()]
    if options.languages and not options.language_boost:
        conditions.append(language_condition(kit, options))
    return kit.Filter(must=conditions) if conditions else None


def language_condition(kit: Any, options: SearchOptions) -> Any:
    """True for documents in one of the languages."""
    return _condition(kit, options.language_field, list(options.languages))


def _condition(kit: Any, key: str, value: JSON) -> Any:
    path = f"metadata.{key}"
    if isinstance(value, bool) and hasattr(kit, "EdgeShard"):
        # The engine's binding (0.9.0) takes Python's True for the number 1; numpy's is a truth
        # value to it.
        return kit.FieldCondition(key=path, match=kit.MatchValue(value=np.bool_(value)))
    if isinstance(value, bool | int | str):
        return kit.FieldCondition(key=path, match=kit.MatchValue(value=value))
    if isinstance(value, list | tuple) and {type(item) for item in value} in ({str}, {int}):
        return kit.FieldCondition(key=path, match=kit.MatchAny(any=list(value)))
    if isinstance(value, float):
        ranges = getattr(kit, "Range", None) or kit.RangeFloat
        return kit.FieldCondition(key=path, range=ranges(gte=value, lte=value))
    raise InvalidInputError(
        f"The filter on {key!r} has the value {value!r}.",
        next_step="Compare with a text, a number, true or false, or a list of texts or of whole numbers.",
    )
