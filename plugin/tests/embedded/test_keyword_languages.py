from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.embedded_index import create
from plugin.tests.keyword_languages import LANGUAGES, missing_words
from plugin.tests.store_contract import unit

from lusifer.qdrant.keywords import KeywordOptions
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("language", LANGUAGES)
def test_known_words_are_found(tmp_path: Path, language: str) -> None:
    with create(tmp_path / "index", keywords=KeywordOptions()) as store:
        missing = missing_words(store, language)
    assert len(missing) <= 1, missing


def test_kanji_alone_are_not_taken_for_chinese(tmp_path: Path) -> None:
    texts = ["東京へ行きたい", "価格を比較する", "先週の議事録です", "これはテストです"]
    with create(tmp_path / "index", keywords=KeywordOptions()) as store:
        store.upsert([Document(str(i), text) for i, text in enumerate(texts)], unit(4))
        for i, word in enumerate(("東京", "価格", "議事録")):
            # Farthest from the right document, which only the word can bring up.
            hits = store.search(-unit(4)[i], 2, SearchOptions(keywords=word))
            assert str(i) in [hit.id for hit in hits]
