"""Split long documents into parts that the model reads whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.sources.base import Rejected
from lusifer.stores.parts import PART, PART_OF, part_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.types import Document

__all__ = ["DocumentSplitter"]

_OVERLAP = 8
"""A part repeats at most one in so many tokens of the part before it, in whole sentences."""
_LEAST_TOKENS = 16


class DocumentSplitter:
    """Splits texts at paragraphs, else at ends of sentences, else at words, in every script.

    A document that fits into one part stays as it is. The parts of a longer one have all its
    fields, and two more that name the document and the part.

    Args:
        embedder: Its model's tokenizer counts the tokens.
        tokens: Tokens of a part at most, without those of the prompt.

    Raises:
        InvalidInputError: The model is not here, or does not read so many tokens.
        MissingExtraError: semantic-text-splitter is not installed.
    """

    def __init__(self, embedder: Embedder, tokens: int) -> None:
        try:
            from semantic_text_splitter import TextSplitter
        except ImportError as error:
            raise MissingExtraError(
                f"--split needs semantic-text-splitter: {error}.",
                next_step="Run pip install 'lusifer[split]'.",
            ) from error
        if not isinstance(embedder, Vectorizer):
            raise InvalidInputError(
                "--split counts tokens with the model's tokenizer, and --service keeps it.",
                next_step="Use --bundle, or split the documents before.",
            )
        limit = embedder.maximum_content_tokens("document")
        if not _LEAST_TOKENS <= tokens <= limit:
            raise InvalidInputError(
                f"--split is {tokens} tokens; {embedder.model_name} reads {limit} beside its "
                "prompt.",
                next_step=f"Use {_LEAST_TOKENS} to {limit}.",
            )
        self._splitter = TextSplitter.from_huggingface_tokenizer_file(
            str(embedder.bundle.tokenizer_path), tokens, overlap=tokens // _OVERLAP
        )
        self._counts: dict[str, int] = {}
        self._documents = self._parts = self._read = 0

    def split(self, documents: Iterable[Document | Rejected]) -> Iterator[Document | Rejected]:
        """Yield the parts of each document, in order."""
        for item in documents:
            if isinstance(item, Rejected):
                yield item
                continue
            texts = self._splitter.chunks(item.text)
            self._read += 1
            # Before the last part is passed on: what follows it is deleted once that is stored.
            self._counts[item.id] = max(1, len(texts))
            if len(texts) <= 1:
                yield item
                continue
            self._documents += 1
            self._parts += len(texts)
            for number, text in enumerate(texts, start=1):
                metadata = {**item.metadata, PART_OF: item.id, PART: number}
                yield replace(item, id=part_id(item.id, number), text=text, metadata=metadata)

    def take_counts(self) -> dict[str, int]:
        """Return the number of parts of the documents since the last call, by their ids."""
        counts, self._counts = self._counts, {}
        return counts

    @property
    def notes(self) -> list[str]:
        """How many documents were split."""
        if not self._documents:
            return []
        return [
            f"{self._documents:,} of {self._read:,} documents were split into {self._parts:,} "
            "parts, which are counted as documents."
        ]
