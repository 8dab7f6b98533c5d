"""Choose how Weaviate cuts texts into words, for the keyword half of a hybrid search.

The default, ``word``, cuts at spaces and punctuation. A sentence in Chinese, Japanese or Thai has
none, so it becomes one word that no query contains. The tokenization is set when the collection is
created and can't be changed later.
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
    # "word" cuts their words at every vowel sign, which is no letter to it.
    "DEVANAGARI": "none",
    "BENGALI": "none",
    "GURMUKHI": "none",
    "GUJARATI": "none",
    "ORIYA": "none",
    "TAMIL": "none",
    "TELUGU": "none",
    "KANNADA": "none",
    "MALAYALAM": "none",
    "SINHALA": "none",
}
_TOKENIZATIONS: dict[str, WeaviateTokenization] = {
    "ja": "kagome_ja",
    "ko": "kagome_kr",
    "zh": "gse_ch",
}
_FEW = 0.05
"""Share of texts without spaces below which ``word`` still fits."""
_MOST = 0.95
"""Share of texts of one language from which its own tokenization fits."""
_CHARACTERS = 400
"""Characters of a text that are inspected."""


def advise_tokenization(texts: Iterable[str]) -> WeaviateTokenization:
    """Return the tokenization that fits these texts.

    ``kagome_ja``, ``kagome_kr`` or ``gse_ch`` where nearly all texts are Japanese, Korean or
    Chinese; ``trigram`` for a mixture, and for Thai, Lao, Khmer, Burmese and the scripts of India,
    which have no tokenization of their own; else ``word``.
    """
    counts = Counter(map(_writing, texts))
    total = sum(counts.values())
    if counts["ja"] > counts["zh"]:
        # Titles and names of kanji alone, among texts that are mostly Japanese.
        counts["ja"] += counts.pop("zh", 0)
    if not total or total - counts["words"] < _FEW * total:
        return "word"
    kind, count = counts.most_common(1)[0]
    return _TOKENIZATIONS.get(kind, "trigram") if count >= _MOST * total else "trigram"


def fits(tokenization: str, texts: Iterable[str]) -> bool:
    """Check whether keyword searches find words of these texts.

    ``trigram`` and ``gse`` fit texts of more than one language.
    """
    advised = advise_tokenization(texts)
    if advised == "word":
        return tokenization != "field"
    also = {"kagome_ja": {"gse"}, "gse_ch": {"gse"}}.get(advised, set())
    return tokenization in {advised, "trigram"} | also


def _writing(text: str) -> str:
    """Return ``words`` where spaces part the words, else the language.

    It is ``none`` for a language without a tokenization of its own.
    """
    found = Counter(
        _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0], "words")
        for character in text[:_CHARACTERS]
        if character.isalpha()
    )
    spaced = found.pop("words", 0)
    if sum(found.values()) <= spaced:
        return "words"
    # Japanese is Chinese characters with kana between them.
    return "ja" if found["ja"] else found.most_common(1)[0][0]
