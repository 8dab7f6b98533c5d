"""Splits a key space into ranges of about the same size, and draws random places for a sample.

Keys are UUIDs, or numbers written so that they sort as Qdrant sorts them: before every UUID.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, Page, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "LARGEST_NUMBER",
    "UUID_ZERO",
    "cursor_count",
    "largest_number",
    "mixed_ranges",
    "number_cursors",
    "number_key",
    "number_ranges",
    "sample_records",
    "uuid_cursors",
    "uuid_ranges",
]

_Content = TypeVar("_Content")

LARGEST_NUMBER = 2**64 - 1
UUID_ZERO = "00000000-0000-0000-0000-000000000000"

_BITS = 128
_RECORDS_PER_CURSOR = 32


def sample_records(
    read: Callable[[KeyRange, str | None, int], Page[_Content]],
    cursors: Sequence[str],
    total: int,
    count: int,
    seed: int,
    *,
    key_range: KeyRange = ALL_KEYS,
) -> list[Record[_Content]]:
    """Draw the records of :meth:`Source.sample` from an endpoint that can read from any key.

    A range of at most ``2 * count`` documents is read whole.

    Args:
        read: :meth:`Source.read` of the endpoint.
        cursors: Random keys, sorted; about :func:`cursor_count` of them.
        total: Documents in the range.
        count: Records wanted.
        seed: Seed of the choice among the records that were read.
        key_range: Range to choose from.
    """
    found: dict[str, Record[_Content]] = {}
    if total <= 2 * count:
        cursor: str | None = None
        while True:
            page = read(key_range, cursor, _RECORDS_PER_CURSOR * 8)
            found |= {record.key: record for record in page.records}
            cursor = page.cursor
            if cursor is None:
                break
    else:
        for place in cursors:
            page = read(key_range, place, _RECORDS_PER_CURSOR)
            found |= {record.key: record for record in page.records}
    chosen = random.Random(seed).sample(sorted(found), min(count, len(found)))  # noqa: S311
    return [found[key] for key in sorted(chosen)]


def cursor_count(count: int) -> int:
    """Return from how many random cursors to read for a sample of ``count`` records."""
    return 2 * count // _RECORDS_PER_CURSOR + 2


def uuid_cursors(count: int, seed: int) -> list[str]:
    """Draw random UUIDs, sorted."""
    chooser = random.Random(seed)  # noqa: S311
    return sorted(_uuid(chooser.getrandbits(_BITS)) for _ in range(count))


def uuid_ranges(count: int) -> list[KeyRange]:
    """Split all UUIDs into ``count`` ranges."""
    return _ranges([_uuid((index << _BITS) // count) for index in range(1, count)])


def number_key(number: int) -> str:
    """Return a number as a key."""
    return f"#{number:020d}"


def number_cursors(count: int, largest: int, seed: int) -> list[str]:
    """Draw random numbers from 0 to ``largest`` as keys, sorted."""
    chooser = random.Random(seed)  # noqa: S311
    return sorted(number_key(chooser.randint(0, largest)) for _ in range(count))


def number_ranges(largest: int, count: int) -> list[KeyRange]:
    """Split the numbers from 0 to ``largest`` into ``count`` ranges; the last one is open."""
    return _ranges([number_key(index * (largest + 1) // count) for index in range(1, count)])


def mixed_ranges(largest: int, count: int) -> list[KeyRange]:
    """Split numbers up to ``largest`` and all UUIDs into ``count`` ranges, half of them numbers."""
    numbers = number_ranges(largest, max(1, count // 2))
    if count <= len(numbers):
        return [ALL_KEYS]
    uuids = uuid_ranges(count - len(numbers))
    return [
        *numbers[:-1],
        KeyRange(numbers[-1].first, UUID_ZERO),
        KeyRange(UUID_ZERO, uuids[0].end),
        *uuids[1:],
    ]


def largest_number(first_key: Callable[[str], str | None]) -> int | None:
    """Find the largest key that is a number, by bisection: Qdrant lists keys only upwards.

    Args:
        first_key: Returns the first key from a key on; None where none follows.

    Returns:
        The number; None if no key is one.
    """
    first = first_key(number_key(0))
    if first is None or not first.startswith("#"):
        return None
    low, high = int(first[1:]), LARGEST_NUMBER
    while low < high:
        middle = (low + high + 1) // 2
        found = first_key(number_key(middle))
        if found is None or not found.startswith("#"):
            high = middle - 1
        else:
            low = int(found[1:])
    return low


def _ranges(edges: Sequence[str]) -> list[KeyRange]:
    return [KeyRange(first, end) for first, end in pairwise(["", *edges, ""])]


def _uuid(number: int) -> str:
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
