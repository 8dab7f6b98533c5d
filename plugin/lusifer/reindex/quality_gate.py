"""Quality gate of the new vectors before applications see them, language by language.

::

    known item   a query made from a document's title, or its first words, finds it among ten
    overlap      share of a document's ten nearest that old and new vectors have in common
    bias         share of these neighbours in the document's own language: the language gap
    hub          share of the queries that have the same wrong first hit

Known items and hubs need the new model, and the old one for comparison. Overlap and bias need no
model: they use stored vectors.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from lusifer.common.hubness import Hub, find_hubs
from lusifer.reindex.gate_queries import GateQuery, query_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration, Record, Source
    from lusifer.reindex.plan import GateLimits

    _Hits: TypeAlias = Sequence[Record[object]]

__all__ = ["GateOptions", "GateResult", "LanguageResult", "failures", "measure"]

_NEIGHBOURS = 10
_SAMPLE_FACTOR = 40
"""Documents that are sampled for each document of a language that is looked at."""


class LanguageResult(BaseModel):
    """One language; None is what can't be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: int
    """Queries with a known answer."""
    recall_old: float | None
    """Known-item recall@10 of the old vectors."""
    recall_new: float | None
    """Known-item recall@10 of the new vectors."""
    overlap: float | None
    """Share of the ten nearest that old and new vectors have in common."""
    bias_old: float | None
    """Share of a document's ten nearest in its own language, by old vectors."""
    bias_new: float | None
    """Share of a document's ten nearest in its own language, by new vectors."""
    hub_old: float | None = None
    """Share of the queries with the most frequent wrong first hit, by old vectors."""
    hub_new: float | None = None
    """Share of the queries with the most frequent wrong first hit, by new vectors."""


class GateResult(BaseModel):
    """All languages, and what failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: dict[str, LanguageResult]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


@dataclass(frozen=True)
class GateOptions:
    """Options of the quality gate."""

    old: Embedder | None = None
    """Old model, where it is available."""
    queries: Sequence[GateQuery] | None = None
    """Queries of a team's own; by default they are made from documents."""
    per_language: int = 25
    """Documents of each language to look at, at most."""
    seed: int = 0
    """Seed of the choice of documents."""


class _FirstHits:
    """Wrong first hits by language; None where the first hit is right or there is none."""

    def __init__(self, documents: Sequence[Record[object]]) -> None:
        self._texts = {document.key: document.text for document in documents}
        self.by_language: dict[str, list[str | None]] = defaultdict(list)

    def add(self, query: GateQuery, found: Sequence[Record[object]]) -> None:
        first = found[0] if found else None
        # A duplicate of the answer is right too.
        right = first is None or query.key == first.key
        right = right or self._texts.get(query.key or "") == (first and first.text)
        self.by_language[query.language].append(None if right or not first else first.key)

    def largest_share(self, language: str) -> float | None:
        keys = self.by_language.get(language)
        if not keys:
            return None
        counts = Counter(key for key in keys if key is not None)
        return round(max(counts.values(), default=0) / len(keys), 4)

    def hubs(self, limits: GateLimits, documents: int) -> list[Hub]:
        enough = {
            language: keys
            for language, keys in self.by_language.items()
            if len(keys) >= limits.minimum_questions
        }
        return find_hubs(enough, documents, limits.maximum_first_share)


class _Values:
    """Values of one measure by language."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, language: str, value: float | None) -> None:
        if value is not None:
            self._values[language].append(value)

    def count(self, language: str) -> int:
        return len(self._values.get(language, ()))

    def mean(self, language: str) -> float | None:
        known = self._values.get(language)
        return round(float(np.mean(known)), 4) if known else None

    def languages(self) -> set[str]:
        return set(self._values)


def measure(
    migration: AnyMigration,
    new: Embedder,
    limits: GateLimits,
    options: GateOptions | None = None,
) -> GateResult:
    """Search source and target and compare.

    Args:
        migration: Source and target.
        new: The new model.
        limits: What is required.
        options: What the gate uses.

    Raises:
        StoreError: Source or target can't be searched.
        EngineError: A model can't run.
    """
    options = options or GateOptions()
    sample = migration.target.sample(_SAMPLE_FACTOR * options.per_language, options.seed)
    documents = _balanced(sample, options.per_language, options.seed)
    queries = options.queries
    if queries is None:
        queries = [query_from(document) for document in documents]
    recall_old, recall_new, overlap, bias_old, bias_new = (_Values() for _ in range(5))
    first_old, first_new = _FirstHits(documents), _FirstHits(documents)
    for query, hits_before, hits_after in _answers(migration, new, options.old, queries):
        before = None if hits_before is None else [each.key for each in hits_before]
        after = [each.key for each in hits_after]
        if query.key is not None:
            found_before = None if before is None else float(query.key in before)
            recall_old.add(query.language, found_before)
            recall_new.add(query.language, float(query.key in after))
            first_new.add(query, hits_after)
            if hits_before is not None:
                first_old.add(query, hits_before)
        elif before is not None:
            overlap.add(query.language, _overlap(before, after))
    for document, near_before, near_after in _neighbours(migration, documents):
        language = document.language
        bias_new.add(language, _own_share(document, near_after))
        if near_before is not None:
            keys = [[each.key for each in near] for near in (near_before, near_after)]
            overlap.add(language, _overlap(*keys))
            bias_old.add(language, _own_share(document, near_before))
    measured = recall_new.languages() | overlap.languages() | bias_new.languages()
    languages = {
        language: LanguageResult(
            questions=recall_new.count(language),
            recall_old=recall_old.mean(language),
            recall_new=recall_new.mean(language),
            overlap=overlap.mean(language),
            bias_old=bias_old.mean(language),
            bias_new=bias_new.mean(language),
            hub_old=first_old.largest_share(language),
            hub_new=first_new.largest_share(language),
        )
        for language in sorted(measured)
    }
    counts = {each: (overlap.count(each), bias_new.count(each)) for each in languages}
    failed = [*failures(languages, counts, limits)]
    if queries:
        failed += map(_hub_failure, first_new.hubs(limits, migration.target.count()))
    return GateResult(languages=languages, failures=tuple(failed))


def _hub_failure(hub: Hub) -> str:
    label = "all languages" if hub.language is None else hub.language or "(no language)"
    return (
        f"{label}: {hub.queries} of {hub.of} queries have the same wrong first hit, {hub.key}; "
        f"allowed are {hub.allowed}."
    )


def failures(
    languages: Mapping[str, LanguageResult],
    counts: Mapping[str, tuple[int, int]],
    limits: GateLimits,
) -> Iterator[str]:
    """Yield what is below the limits, as sentences.

    Args:
        languages: Results by language.
        counts: How many overlaps and biases each language's means are made of.
        limits: What is required.
    """
    if not any(each.questions for each in languages.values()):
        yield "No query with a known answer was searched: there is nothing to judge by."
    for name, each in languages.items():
        label = name or "(no language)"
        overlaps, biases = counts[name]
        if each.questions >= limits.minimum_questions:
            yield from _recall_failures(label, each, limits)
        enough = overlaps >= limits.minimum_questions
        if enough and each.overlap is not None and each.overlap < limits.minimum_overlap:
            yield (
                f"{label}: {each.overlap:.2f} of the nearest are the same, required is "
                f"{limits.minimum_overlap:.2f}."
            )
        if biases >= limits.minimum_questions and each.bias_old is not None:
            gain = (each.bias_new or 0.0) - each.bias_old
            if gain > limits.maximum_bias_gain:
                yield (
                    f"{label}: {each.bias_new:.2f} of the neighbours are in the same language, "
                    f"before {each.bias_old:.2f}; allowed are {limits.maximum_bias_gain:.2f} more."
                )


def _recall_failures(label: str, result: LanguageResult, limits: GateLimits) -> Iterator[str]:
    old, new = result.recall_old, result.recall_new
    if new is None:
        return
    if new < limits.minimum_recall:
        yield f"{label}: recall@10 is {new:.2f}, required is {limits.minimum_recall:.2f}."
    if old is not None and old - new > limits.maximum_recall_loss:
        yield (
            f"{label}: recall@10 falls from {old:.2f} to {new:.2f}, by more than "
            f"{limits.maximum_recall_loss:.2f}."
        )


def _balanced(
    records: Sequence[Record[object]], per_language: int, seed: int
) -> list[Record[object]]:
    """Choose records with a text at random, at most ``per_language`` of each language."""
    shuffled = list(records)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    taken: dict[str, int] = defaultdict(int)
    chosen = []
    for record in shuffled:
        if taken[record.language] < per_language and record.text.strip():
            taken[record.language] += 1
            chosen.append(record)
    return chosen


def _answers(
    migration: AnyMigration, new: Embedder, old: Embedder | None, queries: Sequence[GateQuery]
) -> Iterator[tuple[GateQuery, _Hits | None, _Hits]]:
    """Yield each query with what it finds in the source, if that is searched, and the target."""
    after = _search(migration.target, new, queries)
    before: Sequence[_Hits | None] = [None] * len(queries)
    if old is not None and migration.searchable:
        before = _search(migration.source, old, queries)
    yield from zip(queries, before, after, strict=True)


def _search(
    endpoint: Source[object], embedder: Embedder, queries: Sequence[GateQuery]
) -> Sequence[_Hits]:
    if not queries:
        return []
    vectors = embedder.embed_queries([query.text for query in queries]).vectors
    return endpoint.nearest(list(vectors), _NEIGHBOURS, [query.tenant_key for query in queries])


def _neighbours(
    migration: AnyMigration, documents: Sequence[Record[object]]
) -> Iterator[tuple[Record[object], Sequence[Record[object]] | None, Sequence[Record[object]]]]:
    """Yield each document with its neighbours in the source, if they can be known, and target."""
    keys = [document.key for document in documents]
    after = _nearest_others(migration.target, keys)
    before = _nearest_others(migration.source, keys) if migration.searchable else {}
    for document in documents:
        if document.key in after:
            yield document, before.get(document.key), after[document.key]


def _nearest_others(
    endpoint: Source[object], keys: Sequence[str]
) -> dict[str, list[Record[object]]]:
    """Return the ten nearest documents to each document that has a vector, without itself."""
    vectors = endpoint.vectors(keys)
    found = endpoint.nearest(list(vectors.values()), _NEIGHBOURS + 1, list(vectors))
    return {
        key: [each for each in near if each.key != key][:_NEIGHBOURS]
        for key, near in zip(vectors, found, strict=True)
    }


def _overlap(before: Sequence[str], after: Sequence[str]) -> float:
    return len(set(before) & set(after)) / max(1, len(before), len(after))


def _own_share(document: Record[object], near: Iterable[Record[object]]) -> float:
    own = [each.language == document.language for each in near]
    return sum(own) / max(1, len(own))
