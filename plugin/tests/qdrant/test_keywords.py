from __future__ import annotations

import pytest

pytest.importorskip("qdrant_client")
pytest.importorskip("qdrant_edge")

import qdrant_edge as edge
from pydantic import TypeAdapter
from qdrant_client import models

from lusifer.errors import InvalidInputError
from lusifer.qdrant.keywords import LANGUAGES, KeywordOptions, StoredKeywords, keyword_options


def test_every_language_offered_is_one_that_the_engine_stems() -> None:
    for language in LANGUAGES.values():
        edge.Bm25(edge.Bm25Config(language=language)).embed_document("text")
    with pytest.raises(InvalidInputError, match="'ja'") as caught:
        keyword_options("ja")
    assert "compared as they stand" in caught.value.next_step


def test_keywords_are_neutral_unless_a_language_is_named() -> None:
    assert keyword_options(None).bm25() == {
        "tokenizer": "whitespace",
        "stemmer": {"type": "none"},
        "stopwords": {},
    }
    assert keyword_options("de").bm25() == {"language": "german"}
    models.Bm25Config(**keyword_options(None).bm25())


def test_words_are_made_here() -> None:
    neutral, german = keyword_options(None), keyword_options("de")
    assert neutral.text_for_bm25("東京都 Ｃafé 2024", "document") == "東 京 都 東京 京都 café 2024"
    assert neutral.text_for_bm25("東京都 Ｃafé 2024", "query") == "東京 京都 café 2024"
    assert german.text_for_bm25("Ｈaus\u00adbau", "document") == "hausbau"


def test_a_collection_with_words_of_qdrants_own_keeps_them() -> None:
    made = TypeAdapter(StoredKeywords).validate_python({"language": None})
    assert made == KeywordOptions(words=1)
    assert made.bm25()["tokenizer"] == "multilingual"
    assert made.text_for_bm25("Ｃafé", "query") == "Ｃafé"
    assert TypeAdapter(StoredKeywords).validate_python(None) is None
