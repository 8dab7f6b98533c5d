from __future__ import annotations

import pytest

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge")

import qdrant_edge as edge
from qdrant_client import models

from lusifer.errors import InvalidInputError
from lusifer.qdrant.keywords import LANGUAGES, keyword_options


def test_every_language_offered_is_one_that_the_engine_stems() -> None:
    for language in LANGUAGES.values():
        edge.Bm25(edge.Bm25Config(language=language)).embed_document("text")
    with pytest.raises(InvalidInputError, match="'ja'") as caught:
        keyword_options("ja")
    assert "compared as they stand" in caught.value.next_step


def test_numbers_that_stand_alone_are_words_only_where_a_language_is_named() -> None:
    """The page says so; if a later engine keeps them, the page must change."""
    neutral = edge.Bm25(
        edge.Bm25Config(
            tokenizer=edge.TokenizerType.Multilingual,
            stemmer=edge.DisabledStemmer(),
            stopwords=edge.StopwordsSet(),
        )
    )
    german = edge.Bm25(edge.Bm25Config(language="german"))
    assert [len(neutral.embed_query(word).indices) for word in ("2024", "IPv6")] == [0, 1]
    assert [len(german.embed_query(word).indices) for word in ("2024", "IPv6")] == [1, 1]


def test_keywords_are_neutral_unless_a_language_is_named() -> None:
    assert keyword_options(None).bm25() == {
        "tokenizer": "multilingual",
        "stemmer": {"type": "none"},
        "stopwords": {},
    }
    assert keyword_options("de").bm25() == {"language": "german"}
    models.Bm25Config(**keyword_options(None).bm25())
