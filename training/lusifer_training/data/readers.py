"""Reads text, pairs, scored pairs and labelled text from JSON lines or the hub, checked line by
line.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lusifer_training.recipe import DatasetRecipe

__all__ = ["Pair", "Read", "is_held_out", "load_pairs", "read_json_lines", "read_records"]

Read: TypeAlias = "Callable[[tuple[str, ...]], Iterator[dict[str, Any]]]"
"""Records with at least these fields, checked; what a schema reads from, wherever it comes from."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(])")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, a document that answers it, and documents that don't."""

    query: str
    document: str
    negatives: tuple[str, ...] = ()
    cluster: int | None = None
    """Pairs of one cluster go into one batch (``lusifer train mine`` finds them)."""
    score: float | None = None
    """How alike the two are, on the scale of their dataset; None: the document answers the query.
    """


def read_json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the records of a ``.jsonl`` or ``.jsonl.gz`` file.

    Raises:
        DataError: The file is missing, or a line isn't a JSON object with the fields; the line is
            named.
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
            # A cut or damaged archive shows only when its text is read; ValueError: not UTF-8, not
            # JSON.
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise DataError(
                    f"{path}, line {number}: {error}.", next_step="Correct or remove the line."
                ) from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} is not a JSON object.",
                    next_step="Correct or remove the line.",
                )
            if missing := [field for field in fields if field not in record]:
                raise DataError(
                    f"{path}, line {number} has no {', '.join(missing)}.",
                    next_step=f"Every line needs {', '.join(fields)}.",
                )
            yield record


def read_records(
    dataset: DatasetRecipe, path: Path | None, fields: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Records of a dataset under our field names, each value of its kind.

    Args:
        dataset: Source and columns.
        path: Its file; None reads from the hub.
        fields: What the schema needs.

    Raises:
        DataError: The source can't be read, or a line lacks a field or has a wrong value; the line
            is named.
    """
    columns = {
        field: dataset.columns.get(field, field) for field in (*fields, "negatives", "cluster")
    }
    theirs = tuple(columns[field] for field in fields)
    records = read_json_lines(path, theirs) if path else _hub_records(dataset, theirs)
    where = str(path) if path else dataset.location
    for number, record in enumerate(records, start=1):
        ours = {field: record[column] for field, column in columns.items() if column in record}
        for field, value in ours.items():
            expected = _KINDS.get(field, "a text")
            if not _is(expected, value):
                raise DataError(
                    f"{where}, line {number}: {columns[field]} is {value!r:.60}, expected {expected}.",
                    next_step="Correct or remove the line.",
                )
        yield ours


def _hub_records(dataset: DatasetRecipe, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    # Slow to import, and the default recipe has no use for it.
    import datasets

    try:
        table = datasets.load_dataset(
            dataset.hub, dataset.subset, split=dataset.split, revision=dataset.revision
        )
    # FileNotFoundError and ConnectionError are OSErrors; ValueError: no such subset or split.
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"The dataset {dataset.hub} can't be loaded: {error}.",
            next_step="Check its name, subset, split and revision, and the network.",
        ) from error
    if missing := [column for column in columns if column not in table.column_names]:
        raise DataError(
            f"The dataset {dataset.hub} has no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names)}.",
            next_step="Name its columns under columns in the recipe.",
        )
    yield from table


_KINDS = {
    "score": "a number",
    "cluster": "a number",
    "negatives": "a list of texts",
    "label": "a label",
}


def _is(kind: str, value: Any) -> bool:
    if kind == "a number":
        # True is an int to Python, and no score.
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "a list of texts" and not isinstance(value, str):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str | int) if kind == "a label" else isinstance(value, str)


def is_held_out(key: str) -> bool:
    """One key in ten is never trained on: whole source packages, so that no sibling text leaks."""
    return hashlib.sha256(key.encode()).digest()[0] % 10 == 0


def load_pairs(
    dataset: DatasetRecipe, path: Path | None, *, seed: int, held_out: bool = False
) -> list[Pair]:
    """Pairs of one dataset, by its schema.

    Args:
        dataset: Schema and caps.
        path: Its file; None reads from the hub.
        seed: Of the choices that a schema makes (which sentence becomes a query, which example a
            pair).
        held_out: Return the tenth that training never sees instead.

    Raises:
        DataError: A line is broken, or nothing is left.
    """
    rng = random.Random(seed)

    def read(fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
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


def _debian(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Short description to long description, both English; held out by source package."""
    for record in read(("source", "short", "long")):
        if len(record["long"]) >= 40:
            yield record["source"], Pair(record["short"], record["long"])


def _debian_sentences(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """A sentence to the rest of its description (inverse cloze, arXiv 1906.00300)."""
    for record in read(("source", "long")):
        if pair := _cloze(record["long"], rng):
            yield record["source"], pair


def _query_document(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    for record in read(("query", "document")):
        negatives = record.get("negatives", ())
        negatives = (negatives,) if isinstance(negatives, str) else tuple(negatives)
        yield (
            record["document"],
            Pair(record["query"], record["document"], negatives, record.get("cluster")),
        )


def _document_sentences(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """A sentence to its neighbourhood, from documents of any set."""
    for record in read(("document",)):
        if pair := _cloze(record["document"], rng):
            yield record["document"], pair


def _scored_pairs(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Sentences that are more or less alike, with how much."""
    for record in read(("sentence1", "sentence2", "score")):
        if record["sentence1"] != record["sentence2"]:
            pair = Pair(record["sentence1"], record["sentence2"], score=float(record["score"]))
            yield record["sentence1"], pair


def _labelled(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Two texts of one label, with texts of other labels as negatives."""
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


def _text(read: Read, rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Plain text, for stage 1: a pair of nothing and the text."""
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
