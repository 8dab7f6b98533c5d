"""One window in three steps, the same for the local runner and for workers on other machines.

``find`` reads, ``embed`` computes, ``put`` writes under a guard. Each may be repeated at any time:
what is written already is found to be so, and what changed meanwhile is not overwritten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError, LusiferError
from lusifer.reindex.endpoints.base import content_of
from lusifer.reindex.job import REFUSED_KEPT, LanguageTally, PassTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.common.rate_limit import RateLimit
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration, Record, Span
    from lusifer.reindex.job import State

__all__ = ["Found", "Outcome", "Prepared", "embed", "find", "put", "sweep"]

SWEEP_KEYS = 4096


@dataclass(frozen=True)
class Found:
    """What a reading gave."""

    read: int
    stale: list[Record]
    seen: dict[str, str]
    """Versions that the new side had of the stale ones."""
    cursor: str | None


@dataclass(frozen=True)
class Prepared:
    """Stale records with their new vectors."""

    records: list[Record]
    vectors: list[NDArray[np.float32] | None]
    tokens: list[int]
    truncated: int
    refused: list[dict[str, str]]
    engine_seconds: float


@dataclass
class Outcome:
    """What a window did, to be added to the state."""

    tally: PassTally = field(default_factory=PassTally)
    languages: dict[str, LanguageTally] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)

    def add_to(self, state: State) -> None:
        """Count it."""
        for name in PassTally.model_fields:
            setattr(state.current, name, getattr(state.current, name) + getattr(self.tally, name))
        for language, tally in self.languages.items():
            total = state.languages.setdefault(language, LanguageTally())
            total.documents += tally.documents
            total.tokens += tally.tokens
        known = {each["key"] for each in state.refused}
        fresh = [each for each in self.refused if each["key"] not in known]
        state.refused += fresh[: REFUSED_KEPT - len(state.refused)]


def find(migration: Migration, span: Span, cursor: str | None, limit: int) -> Found:
    """Read a window and tell which of its records lack a right new vector.

    Raises:
        StoreError: A side can't be read.
    """
    page = migration.old.read(span, cursor, limit)
    have = migration.new.versions([record.key for record in page.records]) if page.records else {}
    stale = [
        record for record in page.records if content_of(have.get(record.key, "")) != record.sha256
    ]
    seen = {record.key: have[record.key] for record in stale if record.key in have}
    return Found(len(page.records), stale, seen, page.cursor)


def embed(embedder: Embedder, records: Sequence[Record], pace: RateLimit | None = None) -> Prepared:
    """Embed the texts of records; a text that can't be embedded gets None and is listed.

    Raises:
        EngineError: The engine can't run.
        ServiceError: The service can't.
    """
    started_s = time.monotonic()
    prepared = Prepared(list(records), [], [], 0, [], 0.0)
    truncated = 0
    texts = [record.text for record in records]
    for record, result in zip(
        records, embedder.stream(texts, "document", window=max(1, len(texts))), strict=True
    ):
        if isinstance(result, InvalidInputError):
            prepared.vectors.append(None)
            prepared.tokens.append(0)
            prepared.refused.append({"key": record.key, "reason": result.message})
        elif isinstance(result, LusiferError):
            raise result
        else:
            prepared.vectors.append(result.vector)
            prepared.tokens.append(result.tokens)
            truncated += result.truncated
    engine_seconds = time.monotonic() - started_s
    if pace is not None:
        pace.spend(sum(prepared.tokens))
    return Prepared(
        prepared.records,
        prepared.vectors,
        prepared.tokens,
        truncated,
        prepared.refused,
        engine_seconds,
    )


def put(migration: Migration, prepared: Prepared, seen: dict[str, str], *, read: int) -> Outcome:
    """Write what was prepared, guarded, and count it.

    Raises:
        StoreError: The new side can't be written.
    """
    records, vectors = prepared.records, prepared.vectors
    written = migration.new.write(records, vectors, seen) if records else 0
    # In place there is nothing to write for a text that can't be embedded: it comes back in every
    # pass, is told, and must not keep the passes from ending.
    hopeless = len(prepared.refused) if migration.in_place else 0
    outcome = Outcome(refused=prepared.refused)
    outcome.tally = PassTally(
        read=read,
        stale=len(records) - hopeless,
        written=written,
        refused=len(prepared.refused),
        tokens=sum(prepared.tokens),
        truncated=prepared.truncated,
        engine_seconds=prepared.engine_seconds,
    )
    for record, tokens in zip(records, prepared.tokens, strict=True):
        tally = outcome.languages.setdefault(record.language, LanguageTally())
        tally.documents += 1
        tally.tokens += tokens
    return outcome


def sweep(migration: Migration, span: Span, cursor: str | None) -> tuple[Outcome, str | None]:
    """Delete from the new side what is no longer on the old one, one page of keys.

    Raises:
        StoreError: A side can't be read or written.
    """
    have, following = migration.new.keys(span, cursor, SWEEP_KEYS)
    alive = migration.old.present(list(have)) if have else set()
    gone = {key: version for key, version in have.items() if key not in alive}
    if gone:
        migration.new.delete(gone)
    return Outcome(PassTally(gone=len(gone))), following
