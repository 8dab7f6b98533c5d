"""Make query-document pairs from the records of a dataset, by its schema."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lusifer_training.data.readers import read_records
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lusifer_training.data.readers import Record
    from lusifer_training.recipe import DatasetRecipe

__all__ = ["Pair", "is_held_out", "load_pairs"]

_ReadRecords: TypeAlias = "Callable[[tuple[str, ...]], Iterator[Record]]"
"""Yields checked records that have at least the given fields."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(])")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, a document that answers it, and documents that don't.

    Attributes:
        query: Text; empty where a dataset has plain text only.
        document: Text.
        negatives: Hard negatives.
        cluster: Number of a cluster; pairs of one cluster go into one batch (``lusifer train mine``
            finds them).
        score: Similarity of the two on the scale of their dataset; None: the document answers the
            query.
    """

    query: str
    document: str
    negatives: tuple[str, ...] = ()
    cluster: int | None = None
    score: float | None = None


def is_held_out(key: str) -> bool:
    """Decide whether a key is in the tenth that is never trained on.

    Keys are whole source packages, so that no text of a package is in both parts.
    """
    return hashlib.sha256(key.encode()).digest()[0] % 10 == 0


def load_pairs(
    dataset: DatasetRecipe, path: Path | None, *, seed: int, held_out: bool = False
) -> list[Pair]:
    """Load the pairs of one dataset, shuffled.

    Args:
        dataset: Schema and caps.
        path: Its file; None reads from the hub.
        seed: Seed of the shuffle and of a schema's choices: which sentence becomes a query, which
            examples make a pair.
        held_out: Return the tenth that training never reads instead.

    Raises:
        DataError: A line is broken, or no pair is left.
    """
    rng = random.Random(seed)

    def read(fields: tuple[str, ...]) -> Iterator[Record]:
        return read_records(dataset, path, fields)

    pairs = [
        pair for key, pair in _SCHEMAS[dataset.schema_](read, rng) if is_held_out(key) == held_out
    ]
    if not pairs:
        raise DataError(
            f"{path or dataset.location} has no pairs.",
            next_step="Check the file and its schema in the recipe.",
        )
    rng.shuffle(pairs)
    return pairs


def _debian(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Pair short and long English descriptions; held out by source package."""
    for record in read(("source", "short", "long")):
        if len(record["long"]) >= 40:
            yield record["source"], Pair(record["short"], record["long"])


def _debian_sentences(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Pair a sentence with the rest of its description (inverse cloze, arXiv 1906.00300)."""
    for record in read(("source", "long")):
        if pair := _cloze(record["long"], rng):
            yield record["source"], pair


def _query_document(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Take queries, documents and negatives as they are."""
    for record in read(("query", "document")):
        negatives = record.get("negatives", ())
        negatives = (negatives,) if isinstance(negatives, str) else tuple(negatives)
        yield (
            record["document"],
            Pair(record["query"], record["document"], negatives, record.get("cluster")),
        )


def _document_sentences(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Pair a sentence with its neighbours, from the documents of any dataset."""
    for record in read(("document",)):
        if pair := _cloze(record["document"], rng):
            yield record["document"], pair


def _scored_pairs(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Take sentence pairs with their similarity score; equal sentences are left out."""
    for record in read(("sentence1", "sentence2", "score")):
        if record["sentence1"] != record["sentence2"]:
            pair = Pair(record["sentence1"], record["sentence2"], score=float(record["score"]))
            yield record["sentence1"], pair


def _labelled(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Pair two texts of one label, with texts of other labels as negatives."""
    by_label: dict[str, list[str]] = {}
    for record in read(("text", "label")):
        by_label.setdefault(str(record["label"]), []).append(record["text"])
    labels = sorted(by_label)
    for label in labels:
        texts = by_label[label]
        rng.shuffle(texts)
        others = [other for other in labels if other != label]
        for query, document in zip(texts[::2], texts[1::2], strict=False):
            negatives = tuple(
                rng.choice(by_label[other]) for other in rng.sample(others, min(3, len(others)))
            )
            yield query, Pair(query, document, negatives)


def _text(read: _ReadRecords, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Take plain text for stage 1: a pair of an empty query and the text."""
    for record in read(("text",)):
        if text := record["text"].strip():
            yield text, Pair("", text)


def _cloze(text: str, rng: random.Random) -> Pair | None:
    sentences = _SENTENCE_END.split(" ".join(text.split()))
    if len(sentences) < 3:
        return None
    chosen = rng.randrange(len(sentences))
    window = sentences[max(0, chosen - 3) : chosen] + sentences[chosen + 1 : chosen + 4]
    if not 30 <= len(sentences[chosen]) <= 300:
        return None
    return Pair(sentences[chosen], " ".join(window))


_SCHEMAS = {
    "debian": _debian,
    "debian_sentences": _debian_sentences,
    "query_document": _query_document,
    "document_sentences": _document_sentences,
    "scored_pairs": _scored_pairs,
    "labelled": _labelled,
    "text": _text,
}
