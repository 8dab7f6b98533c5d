"""The one language detector: which language a text is in, from its first few hundred characters.

``py3langid`` knows 97 languages and takes 0.1 ms a text. On 100 sentences of SIB-200 it is right in
97 or more in 17 of 18 languages, and in 93 of Chinese; on texts of a few words it guesses. No vector
depends on it: it groups the documents of a re-embedding's quality gate and labels metrics.
"""

from __future__ import annotations

__all__ = ["UNKNOWN", "detect_language"]

UNKNOWN = "other"
"""The answer for a text without a letter."""

_CHARACTERS = 400


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or :data:`UNKNOWN`."""
    head = text[:_CHARACTERS]
    if not any(map(str.isalpha, head)):
        return UNKNOWN
    # Its import loads the model, half a second that a command without need of it should not pay.
    import py3langid

    return str(py3langid.classify(head)[0])
