"""Compares each document three ways: the source, the target, and the snapshot of both.

=================  ======================  ======================================================
the source         the target              what happens
=================  ======================  ======================================================
changed            as the copy left it     the source's document is copied, or its deletion is
as when copied     changed                 nothing: the application's document stays
changed            changed                 a conflict: nothing, unless the command was told to go
                                           on; then the source's document replaces the target's
equal              equal                   nothing
=================  ======================  ======================================================

So no command undoes a write of an application on either side. A conflict is counted; its two
documents stay, each on its side, until somebody decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from lusifer.reindex.endpoints.base import ALL_KEYS, content_of
from lusifer.reindex.snapshot import THEIRS, Base, open_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lusifer.reindex.endpoints.base import AnyMigration, Migration, Record, Target
    from lusifer.reindex.job import Job
    from lusifer.reindex.snapshot import Bases, Snapshot

__all__ = [
    "Changes",
    "Comparison",
    "changes_of",
    "compare",
    "conflicts_sentence",
    "find_changes",
    "split_orphans",
]

_KEYS_AT_ONCE = 1024
_RECORDS_AT_ONCE = 256
_KEYS_KEPT = 10_000
"""Keys of each kind that a search for changes names; further ones are only counted."""

_Content = TypeVar("_Content")
_NO_BASE = Base()


@dataclass(frozen=True)
class Comparison(Generic[_Content]):
    """What a comparison of some records says."""

    stale: list[Record[_Content]]
    """Records to copy."""
    versions: dict[str, str]
    """Versions of these in the target, where they are there."""
    bases: dict[str, Base]
    """Bases of these, where they have one."""
    equal: dict[str, Base]
    """New bases of records that both sides hold alike."""
    conflicts: list[str]
    """Keys of records that changed on both sides."""


def compare(
    target: Target[_Content],
    records: Sequence[Record[_Content]],
    snapshot: Bases,
    *,
    overwrite: bool = False,
) -> Comparison[_Content]:
    """Compare records of the source with the target.

    Args:
        target: The target.
        records: Records that were just read.
        snapshot: What both sides held when they were last copied.
        overwrite: Copy conflicts too.
    """
    bases = snapshot.get([record.key for record in records])
    changed = [
        record
        for record in records
        if (base := bases.get(record.key)) is None or base.pending or base.source != record.sha256
    ]
    now = target.versions([record.key for record in changed]) if changed else {}
    # Versions are as noted when a document was written. An edit of a part of a document leaves the
    # mark of the copy that it no longer is, and an application's document may have no mark at all.
    contents = target.hashes(list(now)) if now else {}
    found = Comparison[_Content]([], {}, {}, {}, [])
    for record in changed:
        key, version, base = record.key, now.get(record.key), bases.get(record.key, _NO_BASE)
        own = _is_own(base, version, contents.get(key))
        if contents.get(key) == record.sha256:
            found.equal[key] = Base(record.sha256, version if own and version else THEIRS)
        elif own or overwrite:
            found.stale.append(record)
        else:
            found.conflicts.append(key)
    stale = [record.key for record in found.stale]
    found.versions.update((key, now[key]) for key in stale if key in now)
    found.bases.update((key, bases[key]) for key in stale if key in bases)
    return found


def split_orphans(
    migration: AnyMigration, bases: Mapping[str, Base], *, overwrite: bool = False
) -> tuple[dict[str, str], list[str], list[str]]:
    """Look for copies whose documents no longer exist in the source.

    Args:
        migration: Source and target.
        bases: A page of the snapshot.
        overwrite: Delete conflicts too.

    Returns:
        Versions of the copies to delete; keys that neither side has; and keys that the source no
        longer has, while an application wrote them to the target.
    """
    present = migration.source.present(list(bases)) if bases else set()
    missing = [key for key in bases if key not in present]
    now = migration.target.versions(missing) if missing else {}
    contents = migration.target.hashes(list(now)) if now else {}
    orphans: dict[str, str] = {}
    absent: list[str] = []
    conflicts: list[str] = []
    for key in missing:
        if key not in now:
            absent.append(key)
        elif overwrite or _is_own(bases[key], now[key], contents.get(key)):
            orphans[key] = now[key]
        else:
            conflicts.append(key)
    return orphans, absent, conflicts


@dataclass
class Changes:
    """Documents in which source and target differ, by the side that changed.

    Each maps a key to the hash of the content there, which is empty if the document was deleted.
    Only the first 10,000 of a kind are held.
    """

    source_only: dict[str, str] = field(default_factory=dict)
    """Changed in the source: a pass would copy them."""
    target_only: dict[str, str] = field(default_factory=dict)
    """Changed in the target by applications."""
    both: dict[str, str] = field(default_factory=dict)
    """Changed on both sides."""
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, key: str, sha256: str) -> None:
        """Note a document."""
        held: dict[str, str] = getattr(self, kind)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(held) < _KEYS_KEPT:
            held[key] = sha256

    def count(self, *kinds: str) -> int:
        """Count the documents of some kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)


def find_changes(migration: AnyMigration, snapshot: Snapshot) -> Changes:
    """Compare all documents of source and target; nothing is written.

    In place, a document without a current new vector counts as one that changed in the source.

    Raises:
        StoreError: Source or target can't be read.
    """
    found = Changes()
    if migration.in_place:
        _find_without_vector(migration, found)
        return found
    _find_in_source(migration, snapshot, found)
    if migration.searchable:
        _find_deleted(migration, snapshot, found)
    _find_inserted(migration, snapshot, found)
    return found


def _find_without_vector(migration: AnyMigration, found: Changes) -> None:
    for records in _pages(migration):
        hashes = migration.target.versions([record.key for record in records])
        for record in records:
            if content_of(hashes.get(record.key, "")) != record.sha256:
                found.add("source_only", record.key, record.sha256)


def _find_in_source(migration: AnyMigration, snapshot: Snapshot, found: Changes) -> None:
    for records in _pages(migration):
        keys = [record.key for record in records]
        bases, now = snapshot.get(keys), migration.target.versions(keys)
        contents = migration.target.hashes(keys)
        for record in records:
            key, version = record.key, now.get(record.key)
            if contents.get(key) == record.sha256:
                continue
            base = bases.get(key, _NO_BASE)
            own = _is_own(base, version, contents.get(key))
            # A copy that could not be written whole has its own hash as the base.
            unchanged = base.source == record.sha256 and not base.pending
            if own:
                found.add("source_only", key, record.sha256)
            elif unchanged:
                found.add("target_only", key, contents.get(key, ""))
            else:
                found.add("both", key, record.sha256)


def _find_deleted(migration: AnyMigration, snapshot: Snapshot, found: Changes) -> None:
    for bases in snapshot.pages(_KEYS_AT_ONCE):
        orphans, _, conflicts = split_orphans(migration, bases)
        for key in orphans:
            found.add("source_only", key, "")
        for key in conflicts:
            found.add("both", key, "")


def _find_inserted(migration: AnyMigration, snapshot: Snapshot, found: Changes) -> None:
    cursor: str | None = None
    while True:
        versions, cursor = migration.target.keys(ALL_KEYS, cursor, _KEYS_AT_ONCE)
        known = snapshot.get(list(versions))
        unknown = [key for key in versions if key not in known]
        if unknown and migration.searchable:
            present = migration.source.present(unknown)
            unknown = [key for key in unknown if key not in present]
        for key in unknown:
            found.add("target_only", key, content_of(versions[key]))
        if cursor is None:
            return


def _pages(migration: Migration[_Content]) -> Iterator[list[Record[_Content]]]:
    cursor: str | None = None
    while True:
        page = migration.source.read(ALL_KEYS, cursor, _RECORDS_AT_ONCE)
        if page.records:
            yield list(page.records)
        cursor = page.cursor
        if cursor is None:
            return


def _is_own(base: Base, version: str | None, content: str | None) -> bool:
    """Return whether the target holds what a re-embedding left there, to the last field."""
    if not base.is_own(version):
        return False
    return version is None or content == content_of(version)


def changes_of(job: Job, migration: AnyMigration) -> Changes:
    """Compare all documents of a job's source and target; raises as :func:`find_changes`."""
    with open_snapshot(job.path, in_place=migration.in_place) as snapshot:
        return find_changes(migration, snapshot)


def conflicts_sentence(count: int) -> str:
    """Return the sentence for documents that applications changed on both sides."""
    return f"{count:,} documents were changed both in the source and in the target."
