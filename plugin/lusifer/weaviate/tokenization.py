"""How Weaviate should cut texts into words, for the keyword half of a hybrid search.

Its default, ``word``, cuts at spaces and signs. A sentence in Chinese, Japanese or Thai has none,
so it becomes one word that no question ever has. The choice is made with the collection and can't
be changed later.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer.types import WeaviateTokenization

__all__ = ["advise_tokenization", "fits"]

_SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "THAI": "none",
    "LAO": "none",
    "KHMER": "none",
    "MYANMAR": "none",
    "TIBETAN": "none",
}
_ONE: dict[str, WeaviateTokenization] = {"ja": "kagome_ja", "ko": "kagome_kr", "zh": "gse"}
_FEW, _MOST = 0.05, 0.95
_CHARACTERS = 400


def advise_tokenization(texts: Iterable[str]) -> WeaviateTokenization:
    """The tokenization that serves these texts.

    ``kagome_ja``, ``kagome_kr`` or ``gse`` where nearly all are Japanese, Korean or Chinese;
    ``trigram`` for a mixture, and for Thai, Lao, Khmer and Burmese, which have none of their own;
    else ``word``.
    """
    counts = Counter(map(_writing, texts))
    total = sum(counts.values())
    if not total or total - counts["words"] < _FEW * total:
        return "word"
    kind, count = counts.most_common(1)[0]
    return _ONE.get(kind, "trigram") if count >= _MOST * total else "trigram"


def fits(tokenization: str, texts: Iterable[str]) -> bool:
    """Whether keyword searches find words of these texts; ``trigram`` and ``gse`` serve more than one."""
    advised = advise_tokenization(texts)
    if advised == "word":
        return tokenization != "field"
    also = {"kagome_ja": {"gse"}, "gse": {"gse_ch"}}.get(advised, set())
    return tokenization in {advised, "trigram"} | also


def _writing(text: str) -> str:
    """``words`` where they stand apart, else the language, or ``none`` for one without a tokenizer here."""
    found = Counter(
        _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0], "words")
        for character in text[:_CHARACTERS]
        if character.isalpha()
    )
    apart = found.pop("words", 0)
    if sum(found.values()) <= apart:
        return "words"
    # Japanese is Chinese characters with kana between them.
    return "ja" if found["ja"] else found.most_common(1)[0][0]
