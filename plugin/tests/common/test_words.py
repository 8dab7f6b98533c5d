from __future__ import annotations

import pytest

from lusifer.common.words import document_words, plain_text, query_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" … ", []),
        ("The Straße, 2024", ["the", "strasse", "2024"]),
        ("İstanbul", ["istanbul"]),
        ("a<b>c=d|e_f", ["a", "b", "c", "d", "e", "f"]),
        ("Ｆｕｌｌ　１２", ["full", "12"]),
        ("۲۰۲۴ ٢٠٢٤", ["2024", "2024"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("ﻣﺪﻳﻨﺔ", ["مدينة"]),
        ("كِتَابٌ كـــتاب", ["كتاب", "كتاب"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("soft\u00adware", ["software"]),
        ("cafe\u0301", ["café"]),
    ],
)
def test_words_between_spaces(text: str, words: list[str]) -> None:
    assert document_words(text) == query_words(text) == words


@pytest.mark.parametrize(
    ("text", "document", "query"),
    [
        ("東京都", ["東", "京", "都", "東京", "京都"], ["東京", "京都"]),
        ("猫", ["猫"], ["猫"]),
        ("ﾄｳｷｮｳ", ["ト", "ウ", "キ", "ョ", "ウ", "トウ", "ウキ", "キョ", "ョウ"], ["トウ", "ウキ", "キョ", "ョウ"]),
        ("서울에서 2024년", ["서", "울", "에", "서", "서울", "울에", "에서", "2024", "년"], ["서울", "울에", "에서", "2024", "년"]),
        ("เมือง", ["เ", "มื", "อ", "ง", "เมื", "มือ", "อง", "เมือ", "มือง"], ["เมือ", "มือง"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ", "ខ្មែ", "មែរ", "ខ្មែរ"], ["ខ្មែរ"]),
        ("GPT東京", ["gpt", "東", "京", "東京"], ["gpt", "東京"]),
    ],
)  # fmt: skip
def test_scripts_without_spaces(text: str, document: list[str], query: list[str]) -> None:
    assert document_words(text) == document
    assert query_words(text) == query


def test_plain_text_is_the_same_again() -> None:
    for text in ("ﬁn ΣΑΣ ß İ", "ﻻ ١", "ｶﾞ", "\u0e33", "Å Å"):
        once = plain_text(text)
        assert plain_text(once) == once
