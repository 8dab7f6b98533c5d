"""The one language detector: returns the language of a text's first 400 characters.

``py3langid`` knows 97 languages and takes 0.1 ms a text. Of 100 sentences of SIB-200 it detects 97
or more in 17 of 18 languages, and 93 in Chinese. On texts of a few words it guesses. No vector
depends on it: it groups the documents of a re-embedding's quality gate, and labels metrics.
"""

from __future__ import annotations

__all__ = ["UNKNOWN", "detect_language"]

UNKNOWN = "other"
"""Result for a text without a letter."""

_CHARACTERS = 400


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or :data:`UNKNOWN`."""
    head = text[:_CHARACTERS]
    if not any(map(str.isalpha, head)):
        return UNKNOWN
    # The import loads the model and takes half a second: only callers that need it pay for it.
    import py3langid

    return str(py3langid.classify(head)[0])
