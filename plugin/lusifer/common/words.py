"""Cut texts in any script into words, for the keyword half of a hybrid search.

Databases cut a text by the language they take it for, and a query of two characters is often taken
for another language than the text. These rules look at characters only, so a word is cut in the
same way wherever it stands:

* Unicode NFKC and case folding: full-width letters and Arabic presentation forms become plain ones,
  and digits of all scripts become ASCII.
* Format characters, such as the zero-width non-joiner of Persian, are dropped. So are the points of
  Arabic and Hebrew and the tatweel, which nobody types in a query.
* A word is a run of letters, marks and digits. Everything else, ``<>=|`` too, separates.
* Scripts without spaces give overlapping runs of characters: Han, kana and Hangul of up to two,
  Thai, Lao, Khmer, Burmese and their relatives of up to three syllables.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["document_words", "plain_text", "query_words"]

_PAIRS = (
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Han, kana, bopomofo and Hangul: words of one or two characters are common."""
_TRIPLES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff"
    "\uaa60-\uaadf"
)
"""Thai, Lao, Burmese, Khmer, Tai, Balinese and Javanese: letters of an alphabet."""
_DROPPED = (
    *range(0x0591, 0x05C8),  # points of Hebrew
    0x0640,  # tatweel
    *range(0x064B, 0x0660),  # points of Arabic
    0x0670,
    *range(0xFE00, 0xFE10),  # variation selectors
    *range(0xE0100, 0xE01F0),
)
"""Codes of characters that are dropped beside the format characters."""


def document_words(text: str) -> list[str]:
    """Return the words of a document, in order and as often as they occur.

    Where a script has no spaces, they are all runs that a query may consist of.
    """
    return list(_words(plain_text(text), every_length=True))


def query_words(text: str) -> list[str]:
    """Return the words of a query; where a script has no spaces, its longest runs only."""
    return list(_words(plain_text(text), every_length=False))


def plain_text(text: str) -> str:
    """Return a text by NFKC, in one case, without format characters and with ASCII digits."""
    # The dotted capital I of Turkish leaves its dot behind.
    folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")
    return unicodedata.normalize("NFKC", folded.translate(_replacements()))


def _words(text: str, *, every_length: bool) -> Iterator[str]:
    for found in _pattern().finditer(text):
        run = found[0]
        if found.lastgroup == "word":
            yield run
            continue
        longest = 2 if found.lastgroup == "pairs" else 3
        letters = _syllables().findall(run)
        shortest = 1 if every_length else min(longest, len(letters))
        for length in range(shortest, min(longest, len(letters)) + 1):
            for start in range(len(letters) - length + 1):
                yield "".join(letters[start : start + length])


@cache
def _replacements() -> dict[int, str | None]:
    """Return what replaces a character by its code; None drops it."""
    replaced: dict[int, str | None] = dict.fromkeys(_DROPPED)
    for character in _assigned():
        category = unicodedata.category(character)
        if category == "Cf":
            replaced[ord(character)] = None
        elif category == "Nd":
            replaced[ord(character)] = str(unicodedata.digit(character))
    return replaced


@cache
def _marks() -> str:
    """Return all combining marks, for a character class; the one of word characters lacks them."""
    return "".join(each for each in _assigned() if unicodedata.category(each)[0] == "M")


def _assigned() -> Iterator[str]:
    """Yield the characters of the planes that have marks, digits or format characters."""
    return map(chr, (*range(0x20000), *range(0xE0000, 0xE0200)))


@cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of a run of characters of one kind."""
    letter = rf"(?:[^\W_]|[{_marks()}])"
    return re.compile(
        rf"(?P<pairs>(?:(?={letter})[{_PAIRS}])+)"
        rf"|(?P<triples>(?:(?={letter})[{_TRIPLES}])+)"
        rf"|(?P<word>(?:(?![{_PAIRS}{_TRIPLES}]){letter})+)"
    )


@cache
def _syllables() -> re.Pattern[str]:
    """Return the pattern of a letter with its marks."""
    return re.compile(rf".[{_marks()}]*")
