"""One batch in three steps, the same for the local runner and for workers on other machines.

``read_stale`` reads, ``embed`` computes, and ``write`` writes under a guard. Each may be repeated
at any time: what is written already is recognised, and what changed meanwhile is not overwritten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from lusifer.errors import InvalidInputError, LusiferError
from lusifer.reindex.endpoints.base import content_of
from lusifer.reindex.job import REFUSED_KEPT, LanguageTally, PassTally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lusifer.common.rate_limit import RateLimit
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration, KeyRange, Migration, Record, Vector
    from lusifer.reindex.job import State

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
"""Keys of the target that are compared with the source at a time."""

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class StaleBatch(Generic[_Content]):
    """Records of one read that lack a current new vector."""

    read: int
    """Records that were read, stale or not."""
    records: list[Record[_Content]]
    versions: dict[str, str]
    """Versions of the stale records in the target, where they are there."""
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
    migration: Migration[_Content], key_range: KeyRange, cursor: str | None, limit: int
) -> StaleBatch[_Content]:
    """Read a batch and keep the records that lack a current new vector.

    Raises:
        StoreError: Source or target can't be read.
    """
    page = migration.source.read(key_range, cursor, limit)
    keys = [record.key for record in page.records]
    stored = migration.target.versions(keys) if keys else {}
    stale = [
        record for record in page.records if content_of(stored.get(record.key, "")) != record.sha256
    ]
    versions = {record.key: stored[record.key] for record in stale if record.key in stored}
    return StaleBatch(len(page.records), stale, versions, page.cursor)


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
    embedded: EmbeddedBatch[_Content],
    versions: Mapping[str, str],
    *,
    read: int,
) -> Outcome:
    """Write an embedded batch under a guard, and count it.

    Args:
        migration: Source and target.
        embedded: Records with their new vectors.
        versions: Versions that the target is expected to have still.
        read: Records that were read for this batch.

    Raises:
        StoreError: The target can't be written.
    """
    records = embedded.records
    rows = list(zip(records, embedded.vectors, strict=True))
    written = migration.target.write(rows, versions) if rows else 0
    # In place there is nothing to write for a text that can't be embedded. It comes back in every
    # pass and is reported, but must not keep the passes from ending.
    never_written = len(embedded.refused) if migration.in_place else 0
    outcome = Outcome(refused=embedded.refused)
    outcome.tally = PassTally(
        read=read,
        stale=len(records) - never_written,
        written=written,
        refused=len(embedded.refused),
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
    migration: AnyMigration, key_range: KeyRange, cursor: str | None
) -> tuple[Outcome, str | None]:
    """Delete documents from the target that no longer exist in the source, one page of keys.

    Returns:
        What was deleted, and the cursor of the next page.

    Raises:
        StoreError: Source or target can't be read or written.
    """
    stored, following = migration.target.keys(key_range, cursor, ORPHAN_KEYS)
    present = migration.source.present(list(stored)) if stored else set()
    orphans = {key: version for key, version in stored.items() if key not in present}
    if orphans:
        migration.target.delete(orphans)
    return Outcome(PassTally(gone=len(orphans))), following
