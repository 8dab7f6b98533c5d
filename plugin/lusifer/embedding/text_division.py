"""Where a long text can be divided without changing the tokens of what comes before.

A tokenizer takes about 160 bytes and two microseconds for a token, and the model reads only the
first few hundred. So only the beginning of a long text is tokenized. Its tokens must be those that
the whole text begins with, and a cut at any place does not give that: with the pieces ``!`` and
``!!!``, nine exclamation marks begin with ``!!!`` and ten with ``!``. A division is safe between
two characters if

- the normalizer gives the beginning the same text with and without the rest, and
- the pre-tokenizer splits there (before a space), or no piece of the vocabulary has characters on
  both sides. No path through the pieces then crosses the place, so the best path before it is the
  same.
"""

from __future__ import annotations

import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

__all__ = ["TextDivision"]

_TRIES = 48
"""Number of places of each kind that are looked at, from the end of the wanted part backwards."""

_CONTEXT = 64
"""Number of characters on each side that decide whether a place is safe."""

_WORD_MARK = "▁"
"""Character that stands for a space in the pieces of a vocabulary."""

# Unicode's class Prepend outside the category Cf: these join with any character that follows.
_PREPENDED = frozenset("\u0d4e\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011d46")


class TextDivision:
    """Finds places at which a text can be divided for one tokenizer.

    Args:
        tokenizer: The tokenizer, without truncation of its own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def joins_at_spaces(self) -> bool:
        """Whether the tokens of a text are those of its parts, divided before a space."""
        if not self._splits_at_spaces:
            return False
        return all(
            self._ids(left + right) == self._ids(left) + self._ids(right)
            for left, right in (("ab", " cd"), ("Ab c.", " D e"), ("7", "  8 9"))
        )

    def before(self, text: str, end: int) -> int | None:
        """Return the last safe place at most ``end`` and over half of it, None if none is found.

        Args:
            text: The text, longer than ``end`` characters.
            end: Wanted number of characters before the place.
        """
        for place in self._spaces(text, end):
            left, both = self._normalized(text, place)
            if both.startswith(left) and (
                (self._splits_at_spaces and self._begins_word(both, len(left)))
                or (self._has_characters and self._uncrossed(both, len(left)))
            ):
                return place
        if self._has_characters:
            for place in range(end, max(end - _TRIES, end // 2), -1):
                if _stands_alone(text[place - 1]) and _stands_alone(text[place]):
                    left, both = self._normalized(text, place)
                    if both.startswith(left) and self._uncrossed(both, len(left)):
                        return place
        return None

    def space_before(self, text: str, end: int) -> int | None:
        """Return the last safe place before a space, if what follows can be tokenized alone."""
        if self.joins_at_spaces:
            for place in self._spaces(text, end):
                left, both = self._normalized(text, place)
                if both.startswith(left) and self._begins_word(both, len(left)):
                    return place
        return None

    def normalized_length(self, text: str) -> int:
        """Return the number of characters of a text after normalization."""
        normalizer = self._tokenizer.normalizer
        return len(text if normalizer is None else normalizer.normalize_str(text))

    def _spaces(self, text: str, end: int) -> Iterator[int]:
        place = end + 1
        for _ in range(_TRIES):
            place = text.rfind(" ", end // 2 + 1, place)
            if place < 0:
                return
            before = text[place - 1]
            # Letters, marks, numbers, punctuation and symbols: no white space, no control.
            if unicodedata.category(before)[0] in "LMNPS" and before not in _PREPENDED:
                yield place

    def _begins_word(self, text: str, place: int) -> bool:
        """Return whether no word of the pre-tokenizer has characters on both sides of the place."""
        splitter = self._tokenizer.pre_tokenizer
        if splitter is None:
            return False
        words = splitter.pre_tokenize_str(text)
        return not any(begin < place < end for _, (begin, end) in words)

    def _uncrossed(self, text: str, place: int) -> bool:
        """Return whether no piece of the vocabulary has characters on both sides of the place."""
        longest = self._longest_piece
        is_piece = self._tokenizer.token_to_id
        for start in range(max(0, place - longest + 1), place):
            for end in range(place + 1, min(len(text), start + longest) + 1):
                part = text[start:end]
                if is_piece(part) is not None or (
                    " " in part and is_piece(part.replace(" ", _WORD_MARK)) is not None
                ):
                    return False
        return True

    def _normalized(self, text: str, place: int) -> tuple[str, str]:
        """Return the normalized characters before the place, and those on both sides of it."""
        left = text[max(0, place - _CONTEXT) : place]
        both = left + text[place : place + _CONTEXT]
        normalizer = self._tokenizer.normalizer
        if normalizer is None:
            return left, both
        return normalizer.normalize_str(left), normalizer.normalize_str(both)

    @cached_property
    def _splits_at_spaces(self) -> bool:
        """Whether the pre-tokenizer itself begins a new word at a space."""
        return all(map(self._begins_word, ("ab cd", "1. cd", "a! 1d"), (2, 2, 2)))

    @cached_property
    def _has_characters(self) -> bool:
        """Whether the pieces of the vocabulary are characters, not bytes or parts of words."""
        model = self._tokenizer.model
        if type(model).__name__ == "Unigram":
            return True
        if type(model).__name__ != "BPE" or (
            model.end_of_word_suffix or model.continuing_subword_prefix
        ):
            return False
        # A byte-level vocabulary writes é as two other characters.
        tokens = self._tokenizer.encode("é中", add_special_tokens=False).tokens
        return any(set("é中") & set(token) for token in tokens)

    @cached_property
    def _longest_piece(self) -> int:
        """Number of characters of the longest piece that can be part of a word."""
        count = self._tokenizer.get_vocab_size(with_added_tokens=False)
        pieces = (self._tokenizer.id_to_token(number) for number in range(count))
        return max((len(piece) for piece in pieces if piece is not None), default=1)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _stands_alone(character: str) -> bool:
    """Return whether a character joins with no neighbour: printable ASCII, kana, Han, Hangul."""
    return (
        "!" <= character <= "~"
        or "\u3041" <= character <= "\u3096"
        or "\u30a1" <= character <= "\u30fa"
        or "\u3400" <= character <= "\u4dbf"
        or "\u4e00" <= character <= "\u9fff"
        or "\uac00" <= character <= "\ud7a3"
        or character in "\u3001\u3002"
    )
