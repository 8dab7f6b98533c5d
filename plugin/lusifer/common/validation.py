"""The one check of texts and the one check of vectors.

Any model returns *some* vector for a text without a visible character, and searches then find it.
So such a text is refused where it enters, with a sentence that says how to fix it.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import InvalidTextError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["UNIT_NORM_TOLERANCE", "check_text", "check_texts", "vector_fault"]

UNIT_NORM_TOLERANCE = 1e-3
"""Largest distance of a vector's norm from 1; int8 and float16 graphs stay well below it."""

# Letters and symbols by category that print nothing: Hangul fillers, the blank Braille pattern, the
# combining grapheme joiner. Variation selectors are marks (Mn) that only modify the character
# before them.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})


def check_text(text: object) -> None:
    """Refuse a text that can't be embedded.

    Args:
        text: The text as the caller gave it.

    Raises:
        InvalidTextError: It is not a string, has no visible character, or holds a NUL byte or a
            lone surrogate.
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
            next_step="Remove it with text.replace('\\x00', ''), and convert binary files to text "
            "first.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise InvalidTextError(
            f"The text holds a lone surrogate {code} at position {error.start} of {len(text)}.",
            next_step="Decode the source as UTF-8 with errors='replace', or join surrogate pairs "
            "with text.encode('utf-16', 'surrogatepass').decode('utf-16').",
        ) from None
    # Each character once: a text may be a megabyte of blanks.
    if not any(map(_is_visible, text[:64])) and not any(map(_is_visible, set(text))):
        raise InvalidTextError(
            f"The text holds no visible character, only white space or control characters "
            f"({len(text)} characters).",
            next_step="Leave blank texts out, or embed their title instead.",
        )


def check_texts(texts: Sequence[object], *, first: int = 0) -> None:
    """Refuse a list that holds a text that can't be embedded.

    Args:
        texts: The texts as the caller gave them.
        first: Index of the first one, where they are part of a longer list.

    Raises:
        InvalidTextError: As in :func:`check_text`; the message names the index of the text.
    """
    for index, text in enumerate(texts, first):
        try:
            check_text(text)
        except InvalidTextError as error:
            raise InvalidTextError(
                f"Text {index}: {error.message}", next_step=error.next_step
            ) from error


def vector_fault(
    vectors: NDArray[np.float32], rows: int, dimension: int, *, unit_norm: bool = True
) -> str | None:
    """Return what is wrong with vectors, to follow "the answer has"; None if nothing is.

    Args:
        vectors: ``(R, D)`` float32 if they are right.
        rows: Number R of vectors that there must be.
        dimension: Length D that each vector must have.
        unit_norm: Whether each norm must be 1; otherwise it must only be above 0.
    """
    if vectors.ndim != 2 or len(vectors) != rows:
        return f"shape {vectors.shape} for {rows} rows"
    if vectors.shape[1] != dimension:
        return f"dimension {vectors.shape[1]} instead of {dimension}"
    if vectors.dtype != np.float32:
        return f"{vectors.dtype} numbers instead of float32"
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if bad := np.flatnonzero(~np.isfinite(norms)).tolist():
        return f"NaN or infinity in {len(bad)} of {rows} vectors, first in vector {bad[0]}"
    if bad := np.flatnonzero(norms == 0).tolist():
        return f"only zeros in {len(bad)} of {rows} vectors, first in vector {bad[0]}"
    if unit_norm and rows and (worst := float(np.abs(norms - 1).max())) > UNIT_NORM_TOLERANCE:
        return f"a norm {worst:.2g} away from 1, at most {UNIT_NORM_TOLERANCE} is allowed"
    return None


def _is_visible(character: str) -> bool:
    return (
        character not in _INVISIBLE and unicodedata.category(character) not in _INVISIBLE_CATEGORIES
    )
