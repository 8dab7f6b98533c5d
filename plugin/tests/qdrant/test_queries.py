from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import models

from lusifer.errors import InvalidInputError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.qdrant.metadata import CollectionMetadata
from lusifer.qdrant.queries import hits_of, query_arguments, without_vector
from lusifer.types import Hit, SearchOptions

METADATA = CollectionMetadata(
    collection="docs", fingerprint="f", model="m", dimension=2, vector_name="own"
)
VECTOR = np.array([0.5, 0.25], dtype=np.float32)
GERMAN = models.Filter(
    must=[models.FieldCondition(key="metadata.lang", match=models.MatchAny(any=["de"]))]
)
NEAR = models.Prefetch(query=[0.5, 0.25], using="own", limit=100)


def arguments(limit: int = 3, **options: Any) -> dict[str, Any]:
    keywords = KeywordOptions(language="german")
    metadata = METADATA.model_copy(update={"keywords": keywords})
    made = query_arguments(metadata, VECTOR, limit, SearchOptions(**options))
    assert (made.pop("collection_name"), made.pop("limit"), made.pop("with_payload")) == (
        "docs",
        limit,
        True,
    )
    return made


def test_dense() -> None:
    assert arguments() == {"query": [0.5, 0.25], "using": "own", "query_filter": None}
    assert arguments(languages=("de",))["query_filter"] == GERMAN


def test_hybrid_fuses_two_rankings_with_the_filter_in_each() -> None:
    words = models.Document(text="tar", model="qdrant/bm25", options={"language": "german"})
    assert arguments(keywords="tar", languages=("de",)) == {
        "prefetch": [
            NEAR.model_copy(update={"filter": GERMAN}),
            models.Prefetch(query=words, using="bm25", limit=100, filter=GERMAN),
        ],
        "query": models.RrfQuery(rrf=models.Rrf(k=60)),
    }


def test_a_boost_is_added_to_the_score() -> None:
    condition = models.FieldCondition(key="metadata.lang", match=models.MatchAny(any=["de"]))
    boost = models.MultExpression(mult=[0.05, condition])
    assert arguments(languages=("de",), language_boost=0.05) == {
        "prefetch": [NEAR],
        "query": models.FormulaQuery(formula=models.SumExpression(sum=["$score", boost])),
    }


def test_groups() -> None:
    made = arguments(limit=30, group_by="book.id", group_size=2, keywords="tar")
    assert (made["group_by"], made["group_size"]) == ("metadata.book.id", 2)
    assert [each.limit for each in made["prefetch"]] == [300, 300]


def test_a_search_that_can_not_be_done_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="The collection docs was made without keywords"):
        query_arguments(METADATA, VECTOR, 1, SearchOptions(keywords="tar"))


def test_hits_of_points_and_of_groups() -> None:
    one, two, three = (
        SimpleNamespace(id=n, score=n / 4, payload={"id": f"d{n}", "text": "t"}) for n in (1, 2, 3)
    )
    groups: Any = SimpleNamespace(
        groups=[SimpleNamespace(hits=[two, three]), SimpleNamespace(hits=[one])]
    )
    assert hits_of(groups, METADATA) == [
        Hit("d2", 0.5, "t", {}),
        Hit("d3", 0.75, "t", {}),
        Hit("d1", 0.25, "t", {}),
    ]
    points: Any = SimpleNamespace(points=[one])
    assert hits_of(points, METADATA) == [Hit("d1", 0.25, "t", {})]


def test_points_that_no_search_finds() -> None:
    assert without_vector("own") == models.Filter(
        must_not=[models.HasVectorCondition(has_vector="own")]
    )
