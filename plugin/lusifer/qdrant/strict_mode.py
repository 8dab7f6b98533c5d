"""Limits of Qdrant's strict mode that get in the way of LUSIFER's commands, as diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.qdrant.connection import TIMEOUT_S
from lusifer.stores.diagnostics import Diagnostic, note, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdrant_client.models import CollectionInfo, StrictModeConfigOutput

__all__ = ["examine_strict_mode"]

_SUBJECT = "strict mode"

_NEEDED = {
    "upsert_max_batchsize": (256, "points in an upsert"),
    "max_query_limit": (256, "points in a query or scroll"),
    "filter_max_conditions": (8, "conditions in a filter"),
    "condition_max_size": (256, "ids in a condition"),
}
"""Limit to what LUSIFER's own commands need."""

_TOTALS = (
    "max_points_count",
    "max_collection_vector_size_bytes",
    "max_collection_payload_size_bytes",
    "max_resident_memory_percent",
)


def examine_strict_mode(config: CollectionInfo) -> Iterator[Diagnostic]:
    """Report each limit of a collection's strict mode that applies to LUSIFER.

    Args:
        config: What the client's ``get_collection`` returns.
    """
    strict = config.config.strict_mode_config
    if strict is None or not strict.enabled:
        yield ok(_SUBJECT, "off")
        return
    found = [*_too_low(strict), *_noted(strict, config)]
    yield from found or [ok(_SUBJECT, "on, no limit that applies to LUSIFER")]


def _limit(strict: StrictModeConfigOutput, name: str) -> int | None:
    # Older clients lack the newer limits.
    limit: int | None = getattr(strict, name, None)
    return limit


def _too_low(strict: StrictModeConfigOutput) -> Iterator[Diagnostic]:
    for name, (needed, what) in _NEEDED.items():
        limit = _limit(strict, name)
        if limit is not None and limit < needed:
            yield warning(
                _SUBJECT,
                f"{name} is {limit}; LUSIFER needs up to {needed} {what}.",
                "Raise it with update_collection(strict_mode_config="
                f"StrictModeConfig({name}={needed})).",
            )


def _noted(strict: StrictModeConfigOutput, config: CollectionInfo) -> Iterator[Diagnostic]:
    if (limit := _limit(strict, "max_timeout")) is not None and limit < TIMEOUT_S:
        yield note(
            _SUBJECT,
            f"max_timeout is {limit}: a call with a longer timeout= is refused.",
            "Give no timeout= to single calls; that of QdrantClient itself is not sent.",
        )
    if strict.unindexed_filtering_retrieve is False:
        yield note(
            _SUBJECT,
            "Filters on fields without an index are refused; indexed are "
            f"{', '.join(sorted(config.payload_schema)) or 'none'}.",
            "Index the fields that --where, --language and --group-by name: create_payload_index, "
            "or at setup --index-field.",
        )
    for name in ("read_rate_limit", "write_rate_limit"):
        if (limit := _limit(strict, name)) is not None:
            yield note(
                _SUBJECT,
                f"{name} is {limit} a minute.",
                "Raise it for a large ingest; lusifer index waits when it is reached.",
            )
    for name in _TOTALS:
        if (limit := _limit(strict, name)) is not None:
            yield note(
                _SUBJECT,
                f"{name} is {limit:,}; the collection has {config.points_count or 0:,} points.",
                "Raise it before you ingest more than fits.",
            )
