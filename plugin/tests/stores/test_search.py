from __future__ import annotations

import numpy as np
import pytest

from lusifer.errors import InvalidDimensionError, InvalidInputError
from lusifer.stores.search import (
    RRF_K,
    candidates,
    check_search,
    group_hits,
    search_deeper,
    value_at,
)
from lusifer.types import Hit, SearchOptions

HITS = [
    Hit("a1", 0.9, "", {"book": "a"}),
    Hit("b1", 0.8, "", {"book": "b"}),
    Hit("a2", 0.7, "", {"book": "a"}),
    Hit("n1", 0.6, "", {}),
    Hit("t1", 0.5, "", {"book": True}),
    Hit("c1", 0.4, "", {"book": 3}),
    Hit("b2", 0.3, "", {"book": "b"}),
]


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def check(
    options: SearchOptions, limit: int = 1, vector: object = (0.6, 0.8), keywords: bool = True
) -> None:
    check_search(
        None if vector is None else np.array(vector, dtype=np.float32),
        limit,
        options,
        dimension=2,
        keywords=keywords,
        where="The collection docs",
    )


def test_how_deep_a_ranking_is_read() -> None:
    assert (RRF_K, candidates(1), candidates(20), candidates(21)) == (60, 100, 100, 105)


def test_searches_that_can_be_done() -> None:
    check(SearchOptions())
    check(SearchOptions(keywords="tar"))
    check(SearchOptions(languages=("de",), language_boost=0.1), keywords=False)
    check(SearchOptions(), vector=None)


def test_searches_that_are_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(SearchOptions(), limit=0)
    assert str(caught.value) == "The limit is 0. Ask for at least 1 hit."
    with pytest.raises(
        InvalidDimensionError, match=r"\(1, 3\), The collection docs takes \(N, 2\)"
    ):
        check(SearchOptions(), vector=(1, 0, 0))
    with pytest.raises(InvalidInputError, match="NaN or infinity in 1 of 1"):
        check(SearchOptions(), vector=(np.nan, 0))
    with pytest.raises(InvalidInputError, match=r"^The collection docs was made without keywords"):
        check(SearchOptions(keywords="tar"), keywords=False)
    with pytest.raises(InvalidInputError, match="A language boost is added to cosine"):
        check(SearchOptions(keywords="tar", languages=("de",), language_boost=0.1))


def test_without_groups_the_best_hits_stay() -> None:
    assert ids(group_hits(HITS, 2, SearchOptions(), {str})) == ["a1", "b1"]


@pytest.mark.parametrize(
    ("limit", "size", "kinds", "expected"),
    [
        (5, 1, {str}, ["a1", "b1"]),
        (5, 2, {str}, ["a1", "a2", "b1", "b2"]),
        (1, 2, {str}, ["a1", "a2"]),
        (5, 1, {str, int}, ["a1", "b1", "c1"]),
        (5, 1, {str, int, bool}, ["a1", "b1", "t1", "c1"]),
        (5, 1, {float}, []),
    ],
)
def test_groups(limit: int, size: int, kinds: set[type], expected: list[str]) -> None:
    options = SearchOptions(group_by="book", group_size=size)
    assert ids(group_hits(HITS, limit, options, kinds)) == expected


def test_a_search_goes_deeper_until_there_is_enough() -> None:
    depths = []

    def search(depth: int) -> list[Hit]:
        depths.append(depth)
        return HITS[:depth]

    full = SearchOptions(group_by="book", group_size=2)
    assert ids(search_deeper(search, 1, full, depth=2, kinds={str})) == ["a1", "a2"]
    assert depths == [2, 8], "7 hits answer a search for 8: there are no more"
    depths.clear()
    one = SearchOptions(group_by="book")
    assert ids(search_deeper(search, 2, one, depth=2, kinds={str})) == ["a1", "b1"]
    assert depths == [2]
    assert ids(search_deeper(search, 3, SearchOptions(), depth=3, kinds={str})) == [
        "a1",
        "b1",
        "a2",
    ]


def test_a_value_at_a_path() -> None:
    metadata = {"author": {"name": "Ada", "born": None}, "n": 1, "a.b": 2}
    assert value_at(metadata, "author.name") == "Ada"
    assert value_at(metadata, "n") == 1
    assert value_at(metadata, "author") == {"name": "Ada", "born": None}
    for absent in ("author.born", "author.name.first", "n.m", "x", "a.b"):
        assert value_at(metadata, absent) is None
