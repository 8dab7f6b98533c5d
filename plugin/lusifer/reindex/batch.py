"""One batch in three steps, the same for the local runner and for workers on other machines.

``read_stale`` reads, ``embed`` computes, and ``write`` writes under a guard. Each may be repeated
at any time: what is written already is recognised, and what changed meanwhile is not overwritten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from lusifer.errors import InvalidInputError, LusiferError
from lusifer.reindex.endpoints.base import content_of
from lusifer.reindex.job import REFUSED_KEPT, LanguageTally, PassTally
from lusifer.reindex.reconciliation import compare, split_orphans
from lusifer.reindex.snapshot import DELETION, Base

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.common.rate_limit import RateLimit
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import (
        AnyMigration,
        KeyRange,
        Migration,
        Page,
        Record,
        Vector,
    )
    from lusifer.reindex.job import State
    from lusifer.reindex.snapshot import Bases, Snapshot

__all__ = [
    "ORPHAN_KEYS",
    "EmbeddedBatch",
    "Outcome",
    "StaleBatch",
    "delete_orphans",
    "embed",
    "read_stale",
    "write",
]

ORPHAN_KEYS = 4096
"""Copies that are compared with the source at a time."""

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class StaleBatch(Generic[_Content]):
    """Records of one read that lack a current new vector."""

    read: int
    """Records that were read, stale or not."""
    records: list[Record[_Content]]
    versions: dict[str, str]
    """Versions of the stale records in the target, where they are there."""
    bases: dict[str, Base]
    """What the snapshot says about the stale records."""
    conflicts: int
    """Records that changed on both sides; they are left as they are."""
    cursor: str | None
    """Cursor of the next batch; None at the end of the key range."""


@dataclass(frozen=True)
class EmbeddedBatch(Generic[_Content]):
    """Stale records with their new vectors."""

    records: list[Record[_Content]]
    vectors: list[Vector | None]
    """A vector for each record; None for a text that can't be embedded."""
    tokens: list[int]
    truncated: int
    """Number of texts that were cut."""
    refused: list[dict[str, str]]
    """Key and reason of each text that can't be embedded."""
    engine_seconds: float


@dataclass
class Outcome:
    """Result of a batch, to be added to the state."""

    tally: PassTally = field(default_factory=PassTally)
    languages: dict[str, LanguageTally] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)

    def add_to(self, state: State) -> None:
        """Add the counts to a state."""
        for name in PassTally.model_fields:
            setattr(state.current, name, getattr(state.current, name) + getattr(self.tally, name))
        for language, tally in self.languages.items():
            total = state.languages.setdefault(language, LanguageTally())
            total.documents += tally.documents
            total.tokens += tally.tokens
        known = {each["key"] for each in state.refused}
        fresh = [each for each in self.refused if each["key"] not in known]
        state.refused += fresh[: REFUSED_KEPT - len(state.refused)]


def read_stale(
    migration: Migration[_Content],
    snapshot: Bases,
    key_range: KeyRange,
    cursor: str | None,
    limit: int,
    *,
    overwrite: bool = False,
) -> StaleBatch[_Content]:
    """Read a batch and keep the records that lack a current new vector.

    Args:
        migration: Source and target.
        snapshot: What both sides held when they were last copied; unused in place.
        key_range: Keys to read.
        cursor: Where to continue; None begins the range.
        limit: Records to read, at most.
        overwrite: Copy records that changed on both sides, too.

    Raises:
        StoreError: Source or target can't be read.
    """
    page = migration.source.read(key_range, cursor, limit)
    if migration.in_place:
        return _without_vector(migration, page)
    found = compare(migration.target, page.records, snapshot, overwrite=overwrite)
    snapshot.put(found.equal)
    return StaleBatch(
        len(page.records),
        found.stale,
        found.versions,
        found.bases,
        len(found.conflicts),
        page.cursor,
    )


def _without_vector(migration: Migration[_Content], page: Page[_Content]) -> StaleBatch[_Content]:
    keys = [record.key for record in page.records]
    stored = migration.target.versions(keys) if keys else {}
    stale = [
        record for record in page.records if content_of(stored.get(record.key, "")) != record.sha256
    ]
    versions = {record.key: stored[record.key] for record in stale if record.key in stored}
    return StaleBatch(len(page.records), stale, versions, {}, 0, page.cursor)


def embed(
    embedder: Embedder, records: Sequence[Record[_Content]], limit: RateLimit | None = None
) -> EmbeddedBatch[_Content]:
    """Embed the texts of records; a text that can't be embedded gets None and is listed.

    Args:
        embedder: The new model.
        records: Records to embed.
        limit: Tokens per second; None is no limit.

    Raises:
        EngineError: The engine can't run.
        ServiceError: The service can't.
    """
    started_s = time.monotonic()
    vectors: list[Vector | None] = []
    tokens: list[int] = []
    refused: list[dict[str, str]] = []
    truncated = 0
    texts = [record.text for record in records]
    results = embedder.stream(texts, "document", window=max(1, len(texts)))
    for record, result in zip(records, results, strict=True):
        if isinstance(result, InvalidInputError):
            vectors.append(None)
            tokens.append(0)
            refused.append({"key": record.key, "reason": result.message})
        elif isinstance(result, LusiferError):
            raise result
        else:
            vectors.append(result.vector)
            tokens.append(result.tokens)
            truncated += result.truncated
    engine_seconds = time.monotonic() - started_s
    if limit is not None:
        limit.spend(sum(tokens))
    return EmbeddedBatch(list(records), vectors, tokens, truncated, refused, engine_seconds)


def write(
    migration: Migration[_Content],
    snapshot: Bases,
    embedded: EmbeddedBatch[_Content],
    stale: StaleBatch[_Content],
) -> Outcome:
    """Write an embedded batch under a guard, note it in the snapshot, and count it.

    Args:
        migration: Source and target.
        snapshot: What both sides held when they were last copied; unused in place.
        embedded: Records with their new vectors.
        stale: The batch that these records were read in.

    Raises:
        StoreError: The target can't be written.
    """
    records = embedded.records
    rows = list(zip(records, embedded.vectors, strict=True))
    written: dict[str, str] = {}
    if rows:
        if not migration.in_place:
            snapshot.put(
                {
                    each.key: replace(stale.bases.get(each.key, Base()), pending=each.sha256)
                    for each in records
                }
            )
        written = migration.target.write(rows, stale.versions)
        if not migration.in_place:
            # The hash of what was written, not of what was read: a document that could not be
            # written whole is copied again.
            snapshot.put(
                {key: Base(content_of(version), version) for key, version in written.items()}
            )
    # In place there is nothing to write for a text that can't be embedded. It comes back in every
    # pass and is reported, but must not keep the passes from ending.
    never_written = len(embedded.refused) if migration.in_place else 0
    outcome = Outcome(refused=embedded.refused)
    outcome.tally = PassTally(
        read=stale.read,
        stale=len(records) - never_written,
        written=len(written),
        refused=len(embedded.refused),
        conflicts=stale.conflicts,
        tokens=sum(embedded.tokens),
        truncated=embedded.truncated,
        engine_seconds=embedded.engine_seconds,
    )
    for record, tokens in zip(records, embedded.tokens, strict=True):
        tally = outcome.languages.setdefault(record.language, LanguageTally())
        tally.documents += 1
        tally.tokens += tokens
    return outcome


def delete_orphans(
    migration: AnyMigration, snapshot: Snapshot, after: str, *, overwrite: bool = False
) -> tuple[Outcome, str | None]:
    """Delete copies from the target whose documents no longer exist in the source, one page.

    Args:
        migration: Source and target.
        snapshot: It names the copies.
        after: Key of the snapshot to continue after; empty begins.
        overwrite: Delete what an application wrote to the target meanwhile, too.

    Returns:
        What was deleted, and the key to continue after; None at the end.

    Raises:
        StoreError: Source or target can't be read or written.
    """
    bases = next(snapshot.pages(ORPHAN_KEYS, after), {})
    orphans, absent, conflicts = split_orphans(migration, bases, overwrite=overwrite)
    if orphans:
        # Noted first: a process that is killed after the deletion must not take it for an
        # application's.
        snapshot.put({key: replace(bases[key], pending=DELETION) for key in orphans})
        migration.target.delete(orphans)
        left = migration.target.versions(list(orphans))
        snapshot.put({key: bases[key] for key in left})
        absent = [*absent, *(key for key in orphans if key not in left)]
    snapshot.delete(absent)
    following = max(bases) if len(bases) == ORPHAN_KEYS else None
    return Outcome(PassTally(gone=len(orphans), conflicts=len(conflicts))), following
