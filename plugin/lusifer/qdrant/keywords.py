"""Keyword options of a hybrid search: Qdrant's BM25, without its assumption that text is English.

Qdrant's own default stems and drops stop words as if everything were English. Here a collection is
neutral unless a language is named: :mod:`lusifer.common.words` cuts documents and queries into
words, which are kept as they are, so that names match in any language. Qdrant's own tokenizer of
many languages (1.19) takes a query of kanji alone for Chinese and cuts it otherwise than the
document, and leaves out numbers that stand alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lusifer.common.words import document_words, plain_text, query_words
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lusifer.types import JSON, Role

__all__ = ["BM25_MODEL", "LANGUAGES", "KeywordOptions", "StoredKeywords", "keyword_options"]

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
    words: Literal[1, 2] = 2
    """Rules that cut a text into words: 1 are Qdrant's own, 2 are ours. Documents and queries of a
    collection must be cut by the same ones."""

    def bm25(self) -> dict[str, JSON]:
        """Return options of Qdrant's BM25 model; it knows the neutral ones since Qdrant 1.19."""
        if self.language is not None:
            return {"language": self.language}
        tokenizer = "multilingual" if self.words == 1 else "whitespace"
        return {"tokenizer": tokenizer, "stemmer": {"type": "none"}, "stopwords": {}}

    def text_for_bm25(self, text: str, role: Role) -> str:
        """Return what Qdrant's BM25 model gets in place of a text."""
        if self.words == 1:
            return text
        if self.language is not None:
            return plain_text(text)
        return " ".join(document_words(text) if role == "document" else query_words(text))


def _first_rules(stored: object) -> object:
    """Add to stored options which rules made the words, where they are older than the field."""
    return {"words": 1, **stored} if isinstance(stored, dict) else stored


StoredKeywords: TypeAlias = Annotated[KeywordOptions | None, BeforeValidator(_first_rules)]
"""Keyword options as a collection keeps them; None where it has no keywords."""


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
