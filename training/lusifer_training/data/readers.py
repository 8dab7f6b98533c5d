"""Reads JSON lines of plain text, pairs, scored pairs and labelled text, checked line by line."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer_training.recipe import DatasetRecipe

__all__ = ["Pair", "is_held_out", "load_pairs", "read_json_lines"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(])")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, a document that answers it, and documents that don't."""

    query: str
    document: str
    negatives: tuple[str, ...] = ()


def read_json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the records of a ``.jsonl`` or ``.jsonl.gz`` file.

    Raises:
        DataError: The file is missing, or a line isn't a JSON object with the fields; the line is named.
    """
    if not path.is_file():
        raise DataError(
            f"There is no data file {path}.",
            next_step="Set LUSIFER_DATA to the folder that holds it, or correct the recipe.",
        )
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    with opener(path, "rt", encoding="utf-8") as lines:
        while True:
            number += 1
            try:
                if not (line := lines.readline()):
                    return
                record = json.loads(line)
            # A cut or damaged archive shows only when its text is read; ValueError: not UTF-8, not JSON.
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise DataError(
                    f"{path}, line {number}: {error}.", next_step="Correct or remove the line."
                ) from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} is not a JSON object.", next_step="Correct or remove the line."
                )
            if missing := [field for field in fields if field not in record]:
                raise DataError(
                    f"{path}, line {number} has no {', '.join(missing)}.",
                    next_step=f"Every line needs {', '.join(fields)}.",
                )
            yield record


def is_held_out(key: str) -> bool:
    """One key in ten is never trained on: whole source packages, so that no sibling text leaks."""
    return hashlib.sha256(key.encode()).digest()[0] % 10 == 0


def load_pairs(dataset: DatasetRecipe, path: Path, *, seed: int, held_out: bool = False) -> list[Pair]:
    """Pairs of one dataset, by its schema.

    Args:
        dataset: Schema and caps.
        path: Its file.
        seed: Of the choices that a schema makes (which sentence becomes a query, which example a pair).
        held_out: Return the tenth that training never sees instead.

    Raises:
        DataError: A line is broken, or nothing is left.
    """
    rng = random.Random(seed)
    pairs = [pair for key, pair in _SCHEMAS[dataset.schema_](path, rng) if is_held_out(key) == held_out]
    unique = list({(pair.query, pair.document): pair for pair in pairs}.values())
    if not unique:
        raise DataError(f"{path} has no pairs.", next_step="Check the file and its schema in the recipe.")
    rng.shuffle(unique)
    return unique[: dataset.maximum_examples]


def _debian(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Short description to long description, both English; held out by source package."""
    for record in read_json_lines(path, ("source", "short", "long")):
        if len(record["long"]) >= 40:
            yield record["source"], Pair(record["short"], record["long"])


def _debian_sentences(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """A sentence to the rest of its description (inverse cloze, arXiv 1906.00300)."""
    for record in read_json_lines(path, ("source", "long")):
        if pair := _cloze(record["long"], rng):
            yield record["source"], pair


def _query_document(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    for record in read_json_lines(path, ("query", "document")):
        yield (
            record["document"],
            Pair(record["query"], record["document"], tuple(record.get("negatives", ()))),
        )


def _document_sentences(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """A sentence to its neighbourhood, from documents of any set."""
    for record in read_json_lines(path, ("document",)):
        if pair := _cloze(record["document"], rng):
            yield record["document"], pair


def _scored_pairs(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Sentences that mean the same (score 4 and more of 5)."""
    for record in read_json_lines(path, ("sentence1", "sentence2", "score")):
        if record["score"] >= 4 and record["sentence1"] != record["sentence2"]:
            yield record["sentence1"], Pair(record["sentence1"], record["sentence2"])


def _labelled(path: Path, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Two texts of one label, with texts of other labels as negatives."""
    by_label: dict[str, list[str]] = {}
    for record in read_json_lines(path, ("text", "label")):
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
}
