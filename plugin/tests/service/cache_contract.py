"""Tests that every cache of vectors must pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lusifer.service.cache import VectorCache, cache_key
from lusifer.service.disk_cache import DiskCache
from lusifer.types import Embedding

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20

MakeCache = Callable[[int], VectorCache]
"""Makes an empty cache with a bound in bytes."""


def embedding(seed: int, dimension: int = 16) -> Embedding:
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return Embedding(vector, 3 + seed % 500, bool(seed % 2))


def key(number: int) -> bytes:
    return cache_key("print", "query", 16, "truncate", str(number))


def same(one: Embedding | None, other: Embedding) -> bool:
    return (
        one is not None
        and one.vector.dtype == np.float32
        and one.vector.tobytes() == other.vector.tobytes()
        and (one.tokens, one.truncated) == (other.tokens, other.truncated)
    )


def files_bytes(path: Path) -> int:
    return sum(
        file.stat().st_size for file in path.parent.glob(f"{path.name}*") if "-shm" not in file.name
    )


_steps = st.lists(
    st.tuples(
        st.booleans(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=6)
    ),
    max_size=12,
)


class VectorCacheContract:
    """Tests of a cache; a subclass gives the fixture ``make``."""

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(_steps)
    def test_a_cache_answers_what_was_put_last_or_nothing(self, make: MakeCache, steps) -> None:  # type: ignore[no-untyped-def]
        cache = make(MIB)
        model: dict[int, Embedding] = {}
        for puts, entries in steps:
            if puts:
                items = [(number, embedding(100 * number + version)) for number, version in entries]
                cache.put_many([(key(number), item) for number, item in items])
                model.update(items)
            else:
                numbers = [number for number, _ in entries]
                for number, hit in zip(
                    numbers, cache.get_many([key(n) for n in numbers]), strict=True
                ):
                    # A bound of 1 MiB is never reached here, so nothing may be forgotten either.
                    assert same(hit, model[number]) if number in model else hit is None
        cache.close()

    @settings(
        max_examples=6,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        st.integers(1, 900),
        st.lists(st.integers(1, 120), min_size=3, max_size=8),
        st.integers(0, 1000),
    )
    def test_never_over_the_bound_and_never_another_vector(
        self, make: MakeCache, dimension: int, sizes: list[int], seed: int
    ) -> None:
        cache = make(MIB)
        number = 0
        for size in sizes:
            numbers = range(number, number + size)
            number += size
            cache.put_many([(key(n), embedding(seed + n, dimension)) for n in numbers])
            assert cache.size_bytes() <= MIB
            if isinstance(cache, DiskCache):
                assert files_bytes(cache._path) <= MIB
        hits = cache.get_many([key(n) for n in range(number)])
        assert any(hits)
        assert all(
            hit is None or same(hit, embedding(seed + n, dimension)) for n, hit in enumerate(hits)
        )
        cache.close()

    def test_what_is_read_outlives_what_is_not(self, make: MakeCache) -> None:
        cache = make(MIB)
        hot = [key(number) for number in range(20)]
        cache.put_many([(key(n), embedding(n, 384)) for n in range(20)])
        for start in range(20, 2000, 20):
            cache.put_many([(key(n), embedding(n, 384)) for n in range(start, start + 20)])
            cache.get_many(hot)
        assert all(cache.get_many(hot))
        assert cache.get_many([key(25)]) == [None]
        assert cache.get_many([key(1999)]) != [None]

    def test_a_caller_can_not_spoil_the_cache(self, make: MakeCache) -> None:
        cache = make(MIB)
        mine = embedding(1)
        expected = mine.vector.copy()
        cache.put_many([(key(1), mine)])
        mine.vector[:] = 0
        (hit,) = cache.get_many([key(1)])
        assert hit is not None
        with pytest.raises(ValueError, match="read-only"):
            hit.vector[0] = 9
        with pytest.raises(ValueError, match="WRITEABLE"):
            hit.vector.flags.writeable = True
        (again,) = cache.get_many([key(1)])
        assert again is not None
        assert again.vector.tobytes() == expected.tobytes()

    def test_a_row_of_a_batch_is_kept_without_the_batch(self, make: MakeCache) -> None:
        batch = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)[:, ::2]
        cache = make(MIB)
        cache.put_many(
            [
                (key(1), Embedding(batch[2], 3, truncated=True)),
                (key(1), Embedding(batch[3], 4, False)),
            ]
        )
        (hit,) = cache.get_many([key(1)])
        assert same(hit, Embedding(batch[3], 4, False))
        assert cache.get_many([]) == []
        cache.put_many([])

    def test_what_is_forgotten_is_gone_and_makes_room(self, make: MakeCache) -> None:
        cache = make(MIB)
        cache.put_many([(key(n), embedding(n)) for n in range(500)])
        before = cache.size_bytes()
        cache.clear()
        assert cache.get_many([key(n) for n in range(500)]) == [None] * 500
        assert cache.size_bytes() < before / 4
        cache.put_many([(key(1), embedding(1))])
        assert same(cache.get_many([key(1)])[0], embedding(1))

    def test_many_threads(self, make: MakeCache) -> None:
        cache = make(MIB)
        problems: list[str] = []

        def work(seed: int) -> None:
            random = np.random.default_rng(seed)
            for _ in range(30):
                numbers = [int(n) for n in random.integers(0, 1000, 10)]
                cache.put_many([(key(n), embedding(n, 384)) for n in numbers])
                numbers = [int(n) for n in random.integers(0, 1000, 30)]
                for n, hit in zip(numbers, cache.get_many([key(n) for n in numbers]), strict=True):
                    if hit is not None and not same(hit, embedding(n, 384)):
                        problems.append(f"{n}")
                if cache.size_bytes() > MIB:
                    problems.append("size")

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
