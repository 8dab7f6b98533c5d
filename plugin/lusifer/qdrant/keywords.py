"""Keyword options of a hybrid search: Qdrant's BM25, without its assumption that text is English.

Qdrant's own default stems and drops stop words as if everything were English. Here a collection is
neutral unless a language is named: words are split by a tokenizer that knows scripts without
spaces, and kept as they are, so that names match in any language. That tokenizer (1.19) leaves out
numbers that stand alone, such as 2024, but not IPv6. With a language named they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lusifer.types import JSON

__all__ = ["BM25_MODEL", "LANGUAGES", "KeywordOptions", "keyword_options"]

BM25_MODEL = "qdrant/bm25"
"""Model computed inside Qdrant (1.15.2 or newer) and inside the embedded engine, never by a
service."""

LANGUAGES: Mapping[str, str] = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian",
    "nl": "dutch", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""ISO 639-1 code to the name of a language for which Qdrant has both a stemmer and stop words."""


class KeywordOptions(BaseModel):
    """Options for splitting and comparing words; one set for all texts of a collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str | None = None
    """Qdrant's name of the one language whose stemmer and stop words are used; None is neutral."""

    def bm25(self) -> dict[str, JSON]:
        """Return options of Qdrant's BM25 model; it knows the neutral ones since Qdrant 1.19."""
        if self.language is not None:
            return {"language": self.language}
        return {"tokenizer": "multilingual", "stemmer": {"type": "none"}, "stopwords": {}}


def keyword_options(language: str | None) -> KeywordOptions:
    """Return options for a language given as ISO 639-1 code, or neutral ones for None.

    Raises:
        InvalidInputError: Qdrant has no stemmer for it.
    """
    if language is None:
        return KeywordOptions()
    if language not in LANGUAGES:
        raise InvalidInputError(
            f"Qdrant has no stemmer and stop words for the language {language!r}.",
            next_step="Leave it out (words are then compared as they stand), or use one of "
            f"{', '.join(LANGUAGES)}.",
        )
    return KeywordOptions(language=LANGUAGES[language])
