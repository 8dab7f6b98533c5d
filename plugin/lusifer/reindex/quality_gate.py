"""What the new index must show before applications see it, language by language.

::

    known item   a question made from a document's title (or its first words) finds the document among ten
    overlap      the ten nearest neighbours of a document, by its stored vectors, in the old index and the new
    bias         the share of these neighbours in the document's own language: the language gap, if it grows

The first needs the new model, and the old one to compare with. The other two need none, because
they use the vectors that are stored.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration, Record, Source
    from lusifer.reindex.plan import GateLimits

__all__ = ["Gate", "LanguageGate", "Question", "measure", "read_questions"]

_NEIGHBOURS = 10
_WORDS = 12
_CHARACTERS = 48
"""Of a question made from a text of a script without spaces."""


@dataclass(frozen=True)
class Question:
    """A question, and the document that answers it where one is known."""

    text: str
    language: str
    key: str | None
    tenant: str = ""

    @property
    def beside(self) -> str:
        """The key of the answer, or one that only names the tenant."""
        return self.key or (f"{self.tenant}/" if self.tenant else "")


class LanguageGate(BaseModel):
    """One language; None is what can't be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: int
    """With a known answer."""
    recall_old: float | None
    recall_new: float | None
    """Known-item recall@10."""
    overlap: float | None
    """Of the ten nearest, between the old index and the new."""
    bias_old: float | None
    bias_new: float | None
    """Share of a document's ten nearest neighbours in its own language."""


class Gate(BaseModel):
    """All languages, and what keeps the gate shut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: dict[str, LanguageGate]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing keeps it shut."""
        return not self.failures


def read_questions(path: Path, side: Source) -> list[Question]:
    """Questions of a team's own, as JSON lines: ``text``, and where known ``lang``, and ``id`` of the answer.

    Where the collection has tenants, each names its ``tenant``.

    Raises:
        InvalidInputError: The file can't be read, or a line is no question.
    """
    questions = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"The questions {path} can't be read: {error}.",
            next_step="Name a file of JSON lines, in UTF-8.",
        ) from error
    for number, line in enumerate(filter(str.strip, lines), 1):
        try:
            fields = json.loads(line)
            text = fields["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{path} line {number} is no question: {error}.",
                next_step='Write lines such as {"text": "…", "lang": "de", "id": "…"}.',
            ) from error
        known = fields.get("id")
        tenant = str(fields.get("tenant", ""))
        key = None if known is None else side.key_of(str(known), tenant)
        questions.append(Question(str(text), str(fields.get("lang", "")), key, tenant))
    return questions


def measure(
    migration: Migration,
    new: Embedder,
    limits: GateLimits,
    *,
    old: Embedder | None = None,
    questions: Sequence[Question] | None = None,
    per_language: int = 25,
    seed: int = 0,
) -> Gate:
    """Search both sides and compare.

    Args:
        migration: The two sides.
        new: The new model.
        limits: What is demanded.
        old: The old model, where it is at hand.
        questions: The team's own; by default they are made from titles.
        per_language: Documents of each language to look at, at most.
        seed: Of the choice.

    Raises:
        StoreError: A side can't be searched.
        EngineError: A model can't run.
    """
    documents = _balanced(migration.new.sample(40 * per_language, seed), per_language, seed)
    asked = questions if questions is not None else [_question(each) for each in documents]
    recall: dict[str, list[tuple[float | None, float]]] = defaultdict(list)
    shared: dict[str, list[float]] = defaultdict(list)
    bias: dict[str, list[tuple[float | None, float]]] = defaultdict(list)
    old_answers = (
        _answers(migration.old, old, asked) if old is not None and migration.searchable else None
    )
    for index, (question, found) in enumerate(
        zip(asked, _answers(migration.new, new, asked), strict=True)
    ):
        before = old_answers[index] if old_answers is not None else None
        if question.key is not None:
            hit_before = None if before is None else float(question.key in before)
            recall[question.language].append((hit_before, float(question.key in found)))
        elif before is not None:
            shared[question.language].append(_overlap(before, found))
    for document, before_near, near in _neighbours(migration, documents):
        if before_near is not None:
            shared[document.language].append(
                _overlap([each.key for each in before_near], [each.key for each in near])
            )
        share_before = None if before_near is None else _own_share(document, before_near)
        bias[document.language].append((share_before, _own_share(document, near)))
    languages = {
        language: LanguageGate(
            questions=len(recall[language]),
            recall_old=_mean(before for before, _ in recall[language]),
            recall_new=_mean(after for _, after in recall[language]),
            overlap=_mean(shared[language]),
            bias_old=_mean(before for before, _ in bias[language]),
            bias_new=_mean(after for _, after in bias[language]),
        )
        for language in sorted({*recall, *shared, *bias})
    }
    return Gate(languages=languages, failures=tuple(_failures(languages, bias, shared, limits)))


def _failures(
    languages: dict[str, LanguageGate],
    bias: dict[str, Any],
    shared: dict[str, Any],
    limits: GateLimits,
) -> Iterable[str]:
    if not any(each.questions for each in languages.values()):
        yield "No question with a known answer was asked: there is nothing to judge by."
    for name, each in languages.items():
        label = name or "(no language)"
        recall_old, recall_new = each.recall_old, each.recall_new
        if each.questions >= limits.minimum_questions and recall_new is not None:
            if recall_new < limits.minimum_recall:
                yield f"{label}: recall@10 is {recall_new:.2f}, demanded is {limits.minimum_recall:.2f}."
            if recall_old is not None and recall_old - recall_new > limits.maximum_recall_loss:
                yield (
                    f"{label}: recall@10 falls from {recall_old:.2f} to {recall_new:.2f}, by more than "
                    f"{limits.maximum_recall_loss:.2f}."
                )
        enough = len(shared[name]) >= limits.minimum_questions
        if enough and each.overlap is not None and each.overlap < limits.minimum_overlap:
            yield (
                f"{label}: {each.overlap:.2f} of the nearest are the same, demanded is "
                f"{limits.minimum_overlap:.2f}."
            )
        if len(bias[name]) >= limits.minimum_questions and each.bias_old is not None:
            gain = (each.bias_new or 0.0) - each.bias_old
            if gain > limits.maximum_bias_gain:
                yield (
                    f"{label}: {each.bias_new:.2f} of the neighbours are in the same language, before "
                    f"{each.bias_old:.2f}; allowed are {limits.maximum_bias_gain:.2f} more."
                )


def _balanced(records: Sequence[Record], per_language: int, seed: int) -> list[Record]:
    shuffled = list(records)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    taken: dict[str, int] = defaultdict(int)
    chosen = []
    for record in shuffled:
        if taken[record.language] < per_language and record.text.strip():
            taken[record.language] += 1
            chosen.append(record)
    return chosen


def _question(record: Record) -> Question:
    if record.title.strip():
        return Question(record.title, record.language, record.key)
    words = record.text.split()
    text = " ".join(words[:_WORDS]) if len(words) > _WORDS // 2 else record.text[:_CHARACTERS]
    return Question(text.strip(), record.language, record.key)


def _answers(side: Source, embedder: Embedder, questions: Sequence[Question]) -> list[list[str]]:
    if not questions:
        return []
    vectors = embedder.embed_queries([question.text for question in questions]).vectors
    beside = [question.beside for question in questions]
    return [
        [each.key for each in near] for near in side.nearest(list(vectors), _NEIGHBOURS, beside)
    ]


def _neighbours(
    migration: Migration, documents: Sequence[Record]
) -> Iterable[tuple[Record, list[Record] | None, list[Record]]]:
    keys = [document.key for document in documents]
    after = _others(migration.new, keys)
    before = _others(migration.old, keys) if migration.searchable else {}
    for document in documents:
        if document.key in after:
            yield document, before.get(document.key), after[document.key]


def _others(side: Source, keys: Sequence[str]) -> dict[str, list[Record]]:
    """The nearest documents to each of these, but for itself."""
    vectors = side.vectors(keys)
    found = side.nearest(list(vectors.values()), _NEIGHBOURS + 1, list(vectors))
    return {
        key: [each for each in near if each.key != key][:_NEIGHBOURS]
        for key, near in zip(vectors, found, strict=True)
    }


def _overlap(before: Sequence[str], after: Sequence[str]) -> float:
    return len(set(before) & set(after)) / max(1, len(before), len(after))


def _own_share(document: Record, near: Sequence[Record]) -> float:
    return sum(each.language == document.language for each in near) / max(1, len(near))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
