"""Foreign text on a terminal or in a log: what would act on it is shown, not obeyed.

A text of a document, a file name or a server's message may hold control characters, which move the
cursor, rename the window or hide lines, and characters that change the direction of what follows.
"""

from __future__ import annotations

import re

__all__ = ["ACTING", "printable"]

# Controls but tab and line feed; every character with the property Bidi_Control; separators of
# lines and paragraphs; surrogates, which no terminal can be sent; interlinear marks; tags.
_CHARACTERS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\ufff9-\ufffb\U000e0000-\U000e007f"
)
ACTING = re.compile(f"[{_CHARACTERS}]")
"""Matches a character that acts on a terminal, line feed and tab excepted."""
_IN_LINE = re.compile(f"[{_CHARACTERS}\n]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text with what acts on a terminal written as ``\x1b`` or ``\u202e``.

    Joiners stay, which Persian, Indic scripts and emoji need.

    Args:
        text: Any string.
        lines: Keep line feeds. Without it they are written as ``\n``, so that a text can't add a
            line of its own to the output.
    """
    pattern = ACTING if lines else _IN_LINE
    return pattern.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    if found[0] == "\n":
        return r"\n"
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
