"""What counts as a text that can be embedded.

A text without a visible character still gets *some* vector from any model, and that vector then
answers
searches: better to refuse it where it enters, with a sentence that says how to mend it.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from lusifer.errors import InvalidTextError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_text", "check_texts"]

# Letters and symbols by category, yet they print nothing: Hangul fillers, the blank Braille
# pattern, the combining grapheme joiner. Variation selectors are marks (Mn) that only modify a
# character before them.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})


def check_text(text: object) -> None:
    """Refuse what can't be embedded; returns nothing when the text is fine.

    Args:
        text: The text as the caller gave it.

    Raises:
        InvalidTextError: Not a string, no visible character, a NUL byte or a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidTextError(
            f"A text must be a string, got {type(text).__name__}.",
            next_step="Convert it to str, or leave the item out.",
        )
    if not text:
        raise InvalidTextError(
            "The text is empty (0 characters).",
            next_step="Leave empty texts out, or embed their title instead.",
        )
    nul = text.find("\x00")
    if nul >= 0:
        raise InvalidTextError(
            f"The text holds a NUL character at position {nul} of {len(text)}.",
            next_step="Remove it with text.replace('\\x00', ''); convert binary files to text first.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidTextError(
            f"The text holds a lone surrogate U+{ord(text[error.start]):04X} at position {error.start} "
            f"of {len(text)}.",
            next_step="Decode the source as UTF-8 with errors='replace', or join surrogate pairs with "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16').",
        ) from None
    if not any(map(_is_visible, text)):
        raise InvalidTextError(
            f"The text holds no visible character, only white space or control characters "
            f"({len(text)} characters).",
            next_step="Leave blank texts out, or embed their title instead.",
        )


def check_texts(texts: Sequence[object]) -> None:
    """Refuse a list with a text that can't be embedded.

    Raises:
        InvalidTextError: As :func:`check_text`; the message names the index of the text.
    """
    for index, text in enumerate(texts):
        try:
            check_text(text)
        except InvalidTextError as error:
            raise InvalidTextError(
                f"Text {index}: {error.message}", next_step=error.next_step
            ) from error


def _is_visible(character: str) -> bool:
    return (
        character not in _INVISIBLE and unicodedata.category(character) not in _INVISIBLE_CATEGORIES
    )
