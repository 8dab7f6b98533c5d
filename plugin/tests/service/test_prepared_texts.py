from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import DIMENSION

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import InvalidTextError
from lusifer.service.cache import MemoryCache
from lusifer.service.prepared_texts import PreparedTexts, finish, prepare
from lusifer.types import Embedding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle
    from lusifer.types import LongTextPolicy

LONG = "word " * 100


@pytest.fixture
def vectorizer(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(DIMENSION))


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(2**20)


def computed(prepared: PreparedTexts, vectorizer: Vectorizer) -> NDArray[np.float32]:
    """Return the engine's vectors of all windows, one call for each."""
    windows = [window[None].astype(np.int64) for row in prepared.rows for window in row.windows]
    rows = [vectorizer.engine.run(ids, np.ones_like(ids))[0] for ids in windows]
    return np.array(rows, dtype=np.float32).reshape(-1, DIMENSION)


def embed(
    texts: list[str],
    vectorizer: Vectorizer,
    cache: MemoryCache | None,
    policy: LongTextPolicy = "truncate",
) -> tuple[PreparedTexts, NDArray[np.float32]]:
    prepared = prepare(texts, "document", DIMENSION, policy, vectorizer=vectorizer, cache=cache)
    vectors = computed(prepared, vectorizer)
    answer = finish(prepared, vectors, DIMENSION, vectorizer=vectorizer, cache=cache)
    return prepared, answer.vectors


def test_each_text_is_computed_once_and_answered_in_the_order_of_the_request(
    vectorizer: Vectorizer,
) -> None:
    texts = ["b", "a", "b", "c", "a"]
    prepared, vectors = embed(texts, vectorizer, None)
    assert prepared.order == [0, 1, 0, 2, 1]
    assert len(prepared.rows) == 3
    assert prepared.cached == 0
    assert prepared.tokens == sum(row.tokens for row in prepared.rows) > 9
    expected = vectorizer.embed_documents(texts).vectors
    assert np.abs(vectors - expected).max() < 1e-6


def test_cached_texts_are_not_tokenised_again(vectorizer: Vectorizer, cache: MemoryCache) -> None:
    embed(["a", "b"], vectorizer, cache)
    prepared, vectors = embed(["b", "c", "b"], vectorizer, cache)
    assert (prepared.cached, len(prepared.rows), len(prepared.keys)) == (2, 1, 1)
    expected = vectorizer.embed_documents(["b", "c", "b"]).vectors
    assert np.abs(vectors - expected).max() < 1e-6
    again, _ = embed(["b", "c", "b"], vectorizer, cache)
    assert (again.cached, again.tokens) == (3, 0)


def test_a_long_text_is_cached_for_its_policy_and_a_short_one_for_all(
    vectorizer: Vectorizer, cache: MemoryCache
) -> None:
    embed(["short", LONG], vectorizer, cache, "truncate")
    other, _ = embed(["short", LONG], vectorizer, cache, "mean_of_windows")
    assert (other.cached, other.found[0] is None, other.found[1] is None) == (1, False, True)
    both, _ = embed(["short", LONG], vectorizer, cache, "truncate")
    assert both.cached == 2


def test_the_role_and_the_dimension_are_part_of_the_key(
    vectorizer: Vectorizer, cache: MemoryCache
) -> None:
    embed(["a"], vectorizer, cache)
    for role, dimension in (("query", DIMENSION), ("document", 8)):
        prepared = prepare(
            ["a"],
            role,  # type: ignore[arg-type]
            dimension,
            "truncate",
            vectorizer=vectorizer,
            cache=cache,
        )
        assert prepared.cached == 0


def test_a_bad_text_is_named_by_its_index_even_after_cached_ones(
    vectorizer: Vectorizer, cache: MemoryCache
) -> None:
    embed(["a"], vectorizer, cache)
    with pytest.raises(InvalidTextError, match=r"^Text 2: "):
        embed(["a", "a", " "], vectorizer, cache)


@pytest.mark.parametrize(
    "vector", [np.ones(3), np.full(DIMENSION, np.nan), np.zeros(DIMENSION), np.ones(DIMENSION)]
)
def test_a_damaged_vector_of_the_cache_is_computed_again(
    vectorizer: Vectorizer,
    cache: MemoryCache,
    vector: NDArray[np.float64],
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = ["one", "two"]
    prepared, right = embed(texts, vectorizer, cache)
    cache.put_many([(prepared.keys[0], Embedding(vector.astype(np.float32), 3, False))])
    again, vectors = embed(texts, vectorizer, cache)
    assert (again.cached, len(again.rows)) == (1, 1)
    np.testing.assert_array_equal(vectors, right)
    assert "1 vectors of the cache are damaged" in caplog.text
    assert embed(texts, vectorizer, cache)[0].cached == 2
