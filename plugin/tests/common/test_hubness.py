"""Hubness worked out by hand, of random vectors, and with hubs made on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from lusifer.common.hubness import Hub, allowed_queries, find_hubs, measure_hubness


def nearest(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    return np.argsort(-queries @ documents.T, axis=1)[:, :10]


def random_unit(seed: int, count: int, dimension: int = 64) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_hubness_by_hand() -> None:
    # 2-occurrences 3, 2, 1, 0, 0; document 0 is first twice.
    hits = np.array([[0, 1], [0, 1], [2, 0]])
    found = measure_hubness(hits, 5)
    assert (found.first, found.first_queries, found.queries) == (0, 2, 3)
    assert found.first_share == pytest.approx(2 / 3)
    deviations = np.array([3, 2, 1, 0, 0]) - 1.2
    assert found.skew == pytest.approx((deviations**3).mean() / (deviations**2).mean() ** 1.5)


def test_a_weight_is_as_good_as_a_repetition() -> None:
    hits = np.array([[0, 1], [2, 1], [3, 0]])
    weighted = measure_hubness(hits, 4, np.array([1.0, 3.0, 0.0]))
    repeated = measure_hubness(hits[[0, 1, 1, 1]], 4)
    assert weighted.first == repeated.first == 2
    assert weighted.first_share == repeated.first_share == 0.75
    assert weighted.skew == pytest.approx(repeated.skew)


@pytest.mark.parametrize(
    "hits", [np.zeros((0, 10), dtype=int), np.zeros((3, 0), dtype=int), np.full((3, 2), -1)]
)
def test_without_hits_there_is_no_hub(hits: np.ndarray) -> None:
    found = measure_hubness(hits, 5)
    assert (found.first, found.first_share, found.skew) == (-1, 0.0, 0.0)


def test_equal_occurrences_have_no_skew() -> None:
    assert measure_hubness(np.array([[0], [1], [2]]), 3).skew == 0


def test_hubs_are_found_by_language_and_over_all_languages() -> None:
    first_hits = {
        "en": [None] * 90 + ["everywhere"] * 10,
        "ha": [None] * 60 + ["radio"] * 30 + ["everywhere"] * 10,
        "sw": [*map(str, range(76)), *["everywhere"] * 14, *["rare"] * 10],
    }
    # "everywhere" has 34 of 300, no language more than the 15 that are allowed of 100.
    assert find_hubs(first_hits, 1000) == [
        Hub("radio", "ha", 30, 100, 15),
        Hub("everywhere", None, 34, 300, 31),
    ]
    assert find_hubs(first_hits, 1000, 0.3) == []
    assert find_hubs({}, 1000) == find_hubs({"en": []}, 0) == []


@pytest.mark.parametrize("seed", range(10))
def test_isotropic_random_vectors_have_no_hub(seed: int) -> None:
    documents = random_unit(seed, 400)
    for count in (24, 100, 400):
        found = measure_hubness(nearest(random_unit(seed + 100, count), documents), 400)
        assert found.first_queries <= allowed_queries(count, 400)
        assert found.skew < 3


@pytest.mark.parametrize("count", [24, 100, 400])
def test_a_hub_made_on_purpose_is_found(count: int) -> None:
    documents, queries = random_unit(1, 400), random_unit(2, count)
    before = measure_hubness(nearest(queries, documents), 400)
    # All queries share a direction, and one document has nothing but it.
    common = random_unit(3, 1)[0]
    documents[17] = common
    queries = queries + 0.6 * common
    found = measure_hubness(nearest(queries, documents), 400)
    assert found.first == 17
    assert found.first_queries > allowed_queries(count, 400)
    assert found.skew > before.skew + 1


@pytest.mark.parametrize(
    ("queries", "documents", "share", "allowed"),
    [
        # Few queries: what a share of 5 % reaches by chance.
        (0, 100, 0.1, 0),
        (1, 100, 0.1, 1),
        (24, 1000, 0.1, 7),
        (200, 1000, 0.1, 23),
        # Enough queries: the share itself.
        (400, 1000, 0.1, 40),
        (10_000, 1000, 0.1, 1000),
        # Few documents: three times the equal share.
        (1000, 10, 0.1, 300),
        (1000, 2, 0.1, 1000),
        (1000, 0, 0.1, 1000),
        # Switched off.
        (50, 1000, 1.0, 50),
    ],
)
def test_how_many_queries_may_find_one_document(
    queries: int, documents: int, share: float, allowed: int
) -> None:
    assert allowed_queries(queries, documents, share) == allowed


def test_an_ordinary_document_fails_once_in_ten_thousand() -> None:
    # Half of the allowed share, in as many trials as there are queries.
    rng = np.random.default_rng(0)
    for queries in (10, 24, 100, 300):
        first = rng.binomial(queries, 0.05, size=200_000)
        assert (first > allowed_queries(queries, 1000)).mean() < 2e-4
