from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.reindex.endpoints.base import ALL_KEYS, KeyRange, Page, Record
from lusifer.reindex.endpoints.key_ranges import (
    cursor_count,
    largest_number,
    mixed_ranges,
    number_cursors,
    number_key,
    number_ranges,
    sample_records,
    uuid_cursors,
    uuid_ranges,
)

HALF = "80000000-0000-0000-0000-000000000000"
ZERO = "00000000-0000-0000-0000-000000000000"


def numbered(number: int) -> str:
    return f"#{number:020d}"


def test_uuids_are_split_evenly() -> None:
    assert uuid_ranges(1) == [ALL_KEYS]
    assert uuid_ranges(4) == [
        KeyRange("", "40000000-0000-0000-0000-000000000000"),
        KeyRange("40000000-0000-0000-0000-000000000000", HALF),
        KeyRange(HALF, "c0000000-0000-0000-0000-000000000000"),
        KeyRange("c0000000-0000-0000-0000-000000000000", ""),
    ]


def test_numbers_sort_before_uuids() -> None:
    assert number_key(7) == "#00000000000000000007"
    assert number_key(9) < number_key(10) < number_key(2**64 - 1) < ZERO


def test_numbers_are_split_evenly() -> None:
    assert number_ranges(9, 1) == [ALL_KEYS]
    assert number_ranges(9, 2) == [KeyRange("", numbered(5)), KeyRange(numbered(5), "")]
    assert number_ranges(99, 3) == [
        KeyRange("", numbered(33)),
        KeyRange(numbered(33), numbered(66)),
        KeyRange(numbered(66), ""),
    ]


def test_numbers_and_uuids_share_the_ranges() -> None:
    assert mixed_ranges(9, 1) == [ALL_KEYS]
    assert mixed_ranges(9, 2) == [KeyRange("", ZERO), KeyRange(ZERO, "")]
    assert mixed_ranges(9, 4) == [
        KeyRange("", numbered(5)),
        KeyRange(numbered(5), ZERO),
        KeyRange(ZERO, HALF),
        KeyRange(HALF, ""),
    ]


@given(st.integers(0, 2**64 - 1), st.integers(1, 40), st.text("#0123456789abcdef-", max_size=36))
def test_every_key_is_in_exactly_one_range(largest: int, count: int, key: str) -> None:
    for ranges in (uuid_ranges(count), number_ranges(largest, count), mixed_ranges(largest, count)):
        assert sum(key in each for each in ranges) == 1


@pytest.mark.parametrize(
    ("keys", "largest"),
    [
        ([], None),
        ([ZERO], None),
        ([numbered(0)], 0),
        ([numbered(3), numbered(8)], 8),
        ([numbered(3), numbered(2**64 - 1), HALF], 2**64 - 1),
    ],
)
def test_the_largest_number_is_found_by_asking_upwards(
    keys: list[str], largest: int | None
) -> None:
    asked: list[str] = []

    def first_key(begin: str) -> str | None:
        asked.append(begin)
        place = bisect_left(keys, begin)
        return keys[place] if place < len(keys) else None

    assert largest_number(first_key) == largest
    assert len(asked) <= 65


def test_every_largest_number_is_found() -> None:
    for largest in (*range(40), 2**64 - 2):
        keys = sorted({numbered(0), numbered(largest // 2), numbered(largest)})

        def first_key(begin: str, keys: list[str] = keys) -> str | None:
            return next((key for key in keys if key >= begin), None)

        assert largest_number(first_key) == largest


def test_cursors_are_sorted_and_the_same_for_the_same_seed() -> None:
    assert uuid_cursors(3, 0) == uuid_cursors(3, 0) == sorted(uuid_cursors(3, 0))
    assert uuid_cursors(3, 0) != uuid_cursors(3, 1)
    assert all(len(each) == 36 for each in uuid_cursors(3, 0))
    assert number_cursors(5, 0, 0) == [numbered(0)] * 5
    assert all(numbered(0) <= each <= numbered(9) for each in number_cursors(50, 9, 0))


@pytest.mark.parametrize(("count", "cursors"), [(0, 2), (1, 2), (16, 3), (200, 14)])
def test_a_larger_sample_reads_from_more_cursors(count: int, cursors: int) -> None:
    assert cursor_count(count) == cursors


class Reader:
    """Keys ``000`` and on; remembers what it was asked."""

    def __init__(self, count: int) -> None:
        self.keys = [f"{number:03d}" for number in range(count)]
        self.asked: list[tuple[str | None, int]] = []

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[None]:
        self.asked.append((cursor, limit))
        begin = cursor or key_range.first
        left = [key for key in self.keys if key >= begin and key in key_range]
        records = [Record(key, "", "", "", "", None) for key in left[:limit]]
        return Page(records, left[limit] if len(left) > limit else None)


def test_a_small_range_is_read_whole() -> None:
    reader = Reader(300)
    records = sample_records(reader.read, ["777"], 300, 150, 0)
    assert reader.asked == [(None, 256), ("256", 256)]
    keys = [record.key for record in records]
    assert len(keys) == 150
    assert keys == sorted(set(keys))
    again = sample_records(reader.read, ["777"], 300, 150, 0)
    assert [record.key for record in again] == keys


def test_a_large_range_is_read_from_the_cursors() -> None:
    reader = Reader(1000)
    records = sample_records(reader.read, ["100", "120", "990"], 1000, 100, 0)
    assert reader.asked == [("100", 32), ("120", 32), ("990", 32)]
    # Overlapping reads count once, and fewer records than wanted are fine.
    assert [record.key for record in records] == [
        f"{number:03d}" for number in (*range(100, 152), *range(990, 1000))
    ]


def test_a_sample_stays_in_its_range() -> None:
    reader = Reader(100)
    records = sample_records(reader.read, [], 5, 5, 0, key_range=KeyRange("010", "015"))
    assert [record.key for record in records] == ["010", "011", "012", "013", "014"]
