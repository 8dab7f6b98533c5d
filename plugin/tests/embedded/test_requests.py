from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge

from lusifer.embedded.requests import KeywordModel, quantization_config, search_request
from lusifer.errors import InvalidInputError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.types import SearchOptions

VECTOR = np.array([0.5, 0.25], dtype=np.float32)
FILTERED = SearchOptions(where={"lang": "de"})


def request(limit: int = 3, options: SearchOptions | None = None, bm25: Any = None) -> Any:
    made = search_request(VECTOR, limit, options or SearchOptions(), vector_name="own", bm25=bm25)
    assert (made.limit, made.with_payload) == (limit, True)
    return made


def test_dense() -> None:
    made = request()
    assert (made.prefetches, made.filter) == ([], None)
    assert made.params.hnsw_ef == 256
    assert request(limit=200).params.hnsw_ef == 400
    assert request(options=FILTERED).filter is not None


def test_hybrid_fuses_two_rankings_with_the_filter_in_each() -> None:
    options = SearchOptions(keywords="tar", where={"lang": "de"})
    made = request(limit=30, options=options, bm25=KeywordModel(KeywordOptions()))
    assert [each.limit for each in made.prefetches] == [150, 150]
    assert all(each.filter is not None for each in made.prefetches)
    assert made.filter is None


def test_a_boost_looks_at_more_candidates_than_it_returns() -> None:
    made = request(options=SearchOptions(languages=("de",), language_boost=0.1))
    assert [each.limit for each in made.prefetches] == [100]
    assert made.prefetches[0].filter is None


def test_quantizations() -> None:
    assert quantization_config("none") is None
    assert quantization_config("turbo4").bits == edge.TurboQuantBitSize.Bits4
    assert quantization_config("turbo2").bits == edge.TurboQuantBitSize.Bits2
    assert isinstance(quantization_config("scalar"), edge.ScalarQuantizationConfig)
    assert isinstance(quantization_config("binary"), edge.BinaryQuantizationConfig)
    with pytest.raises(InvalidInputError, match="The quantization is 'x'"):
        quantization_config("x")  # type: ignore[arg-type]


def test_keywords_are_those_of_a_server() -> None:
    neutral, german = (
        KeywordModel(KeywordOptions()),
        KeywordModel(KeywordOptions(language="german")),
    )
    # German stems both to one word; the neutral model keeps them apart.
    words = ("Haus", "Hauses")
    assert len({tuple(german.embed_query(word).indices) for word in words}) == 1
    assert len({tuple(neutral.embed_query(word).indices) for word in words}) == 2
