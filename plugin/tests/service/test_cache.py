from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.service.cache_contract import MIB, MakeCache, VectorCacheContract, embedding, key

from lusifer.service.cache import MemoryCache, cache_key

_part = st.text(st.characters(exclude_categories=()), max_size=8)
_parts = st.tuples(
    _part, st.sampled_from(["query", "document"]), st.integers(1, 10**6), st.just("truncate"), _part
)


@given(_parts, _parts)
def test_only_equal_parts_have_equal_keys(one, other) -> None:  # type: ignore[no-untyped-def]
    assert len(cache_key(*one)) == 32
    assert (cache_key(*one) == cache_key(*other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    keys = {
        cache_key("ab", "query", 1, "truncate", "c"),
        cache_key("a", "query", 1, "truncate", "bc"),
        cache_key("abc", "query", 1, "truncate", ""),
        cache_key("ab", "query", 11, "truncate", "c"),
        cache_key("ab", "document", 1, "truncate", "c"),
        cache_key("ab", "query", 1, "error", "c"),
    }
    assert len(keys) == 6


class TestMemoryCache(VectorCacheContract):
    @pytest.fixture
    def make(self) -> MakeCache:
        return MemoryCache


def test_an_entry_larger_than_memory_allows_pushes_nothing_out() -> None:
    cache = MemoryCache(10_000)
    cache.put_many([(key(1), embedding(1))])
    cache.put_many([(key(2), embedding(2, 10_000))])
    assert [hit is not None for hit in cache.get_many([key(1), key(2)])] == [True, False]


def test_memory_counts_what_python_really_needs() -> None:
    items = [(key(n), embedding(n, 64)) for n in range(3000)]
    tracemalloc.start()
    try:
        cache = MemoryCache(100 * MIB)
        before = tracemalloc.get_traced_memory()[0]
        for item_key, item in items:
            cache.put_many([(bytes(bytearray(item_key)), item)])
        needed = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * cache.size_bytes() < needed <= cache.size_bytes()
