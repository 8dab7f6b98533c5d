"""Where to read in a key space: its parts of about the same size, and random places for a sample.

Keys are UUIDs, or numbers written so that they sort as Qdrant sorts them: before every UUID.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.base import EVERYTHING, Page, Record, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "LARGEST_NUMBER",
    "UUID_ZERO",
    "number_cursors",
    "number_key",
    "number_spans",
    "places",
    "sampled",
    "uuid_cursors",
    "uuid_spans",
]

LARGEST_NUMBER = 2**64 - 1
UUID_ZERO = "00000000-0000-0000-0000-000000000000"

_BITS = 128
_SAMPLED_AT_ONCE = 32


def sampled(
    read: Callable[[Span, str | None, int], Page],
    cursors: Sequence[str],
    total: int,
    count: int,
    seed: int,
    *,
    span: Span = EVERYTHING,
) -> list[Record]:
    """What :meth:`Source.sample` gives, for a side that can begin to read anywhere.

    Args:
        read: Of the side.
        cursors: Random places, in order; about :func:`places` many.
        total: Documents of the span.
        count: Records wanted.
        seed: Of the choice among what was read.
        span: What to choose from.
    """
    found: dict[str, Record] = {}
    if total <= 2 * count:
        cursor: str | None = None
        while True:
            page = read(span, cursor, _SAMPLED_AT_ONCE * 8)
            found |= {record.key: record for record in page.records}
            cursor = page.cursor
            if cursor is None:
                break
    else:
        for place in cursors:
            found |= {record.key: record for record in read(span, place, _SAMPLED_AT_ONCE).records}
    chosen = random.Random(seed).sample(sorted(found), min(count, len(found)))  # noqa: S311
    return [found[key] for key in sorted(chosen)]


def places(count: int) -> int:
    """In how many places to read for a sample of ``count`` records."""
    return 2 * count // _SAMPLED_AT_ONCE + 2


def uuid_cursors(count: int, seed: int) -> list[str]:
    """Random UUIDs, sorted."""
    chooser = random.Random(seed)  # noqa: S311
    return sorted(_uuid(chooser.getrandbits(_BITS)) for _ in range(count))


def uuid_spans(count: int) -> list[Span]:
    """All UUIDs in ``count`` parts."""
    edges = ["", *(_uuid((index << _BITS) // count) for index in range(1, count)), ""]
    return [Span(first, end) for first, end in pairwise(edges)]


def number_key(number: int) -> str:
    """A number as a key."""
    return f"#{number:020d}"


def number_cursors(count: int, largest: int, seed: int) -> list[str]:
    """Random numbers up to ``largest``, as keys, sorted."""
    chooser = random.Random(seed)  # noqa: S311
    return sorted(number_key(chooser.randint(0, largest)) for _ in range(count))


def number_spans(largest: int, count: int) -> list[Span]:
    """All numbers up to ``largest``, and whatever comes after them, in ``count`` parts."""
    edges = ["", *(number_key(index * (largest + 1) // count) for index in range(1, count)), ""]
    return [Span(first, end) for first, end in pairwise(edges)]


def _uuid(number: int) -> str:
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
