"""The choice of a tokenization by the scripts of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.weaviate.tokenization import advise_tokenization, fits

ENGLISH = "The cat sits on the mat."
TEXTS = {
    "word": [
        "Die Katze sitzt auf der Matte.",
        "Кошка сидит на коврике.",
        "القطة تجلس على السجادة.",
        "",
        "123",
    ],
    "kagome_ja": ["猫はマットの上に座っています。", "カタカナ", "写真を編集する"],
    "kagome_kr": ["고양이가 매트 위에 앉아 있습니다.", "사진 편집"],
    "gse_ch": ["猫坐在垫子上。", "编辑照片"],
    "trigram": ["แมวนั่งบนเสื่อ", "ແມວ", "ឆ្មា", "बिल्ली चटाई पर बैठी है।", "বিড়াল"],
}


@pytest.mark.parametrize("advised", TEXTS)
def test_the_tokenization_follows_the_scripts(advised: str) -> None:
    assert advise_tokenization(TEXTS[advised]) == advised
    assert fits(advised, TEXTS[advised])
    assert fits("trigram", TEXTS[advised])
    assert fits("word", TEXTS[advised]) == (advised == "word")
    assert not fits("field", TEXTS[advised])


def test_mixtures_of_scripts() -> None:
    assert advise_tokenization([]) == "word"
    assert advise_tokenization([*TEXTS["gse_ch"] * 10, *TEXTS["kagome_kr"] * 10]) == "trigram"
    assert advise_tokenization([ENGLISH] * 10 + TEXTS["gse_ch"]) == "trigram"
    # A few foreign texts are no reason to cut all others worse.
    assert advise_tokenization([ENGLISH] * 99 + TEXTS["gse_ch"][:1]) == "word"
    assert advise_tokenization(["Python 3.11 のための LUSIFER は埋め込みモデルです"]) == "kagome_ja"


def test_kanji_alone_among_japanese_texts_are_japanese() -> None:
    titles = ["東京", "価格", "議事録"]
    assert advise_tokenization([*TEXTS["kagome_ja"] * 2, *titles]) == "kagome_ja"
    assert fits("kagome_ja", [*TEXTS["kagome_ja"] * 2, *titles])
    assert advise_tokenization(titles) == "gse_ch"


@given(st.lists(st.text()), st.sampled_from(["word", "trigram", "gse", "field"]))
def test_any_text_can_be_looked_at(texts: list[str], tokenization: str) -> None:
    assert fits(advise_tokenization(texts), texts)
    assert isinstance(fits(tokenization, texts), bool)
