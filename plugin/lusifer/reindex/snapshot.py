"""Snapshot of source and target, on disk: the base of a three-way comparison.

For every document it keeps what both sides held when the document was last copied. So two questions
have an answer at any moment. Did the source change since? Did an application write the document to
the target since? See :mod:`lusifer.reindex.reconciliation` for what follows from the answers.

A copy is noted before it is written and confirmed afterwards. So a process that is killed in
between does not take its own copy for an application's write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lusifer.common.disk_map import DiskMap
from lusifer.reindex.endpoints.base import content_of, is_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

__all__ = ["DELETION", "THEIRS", "Base", "Bases", "Snapshot", "delete_snapshot", "open_snapshot"]

_FILE = "snapshot.sqlite"

THEIRS = "theirs"
"""Stands for the version of a document that an application wrote to the target."""
DELETION = "-"
"""Stands for the hash of a copy that is about to be deleted."""


@dataclass(frozen=True, slots=True)
class Base:
    """What both sides held when a document was last copied."""

    source: str = ""
    """Content hash in the source; empty if it was not there."""
    target: str = ""
    """Version in the target, or ``THEIRS``; empty if it was not there."""
    pending: str = ""
    """Content hash of a copy that was about to be written, or ``DELETION``; empty without one."""

    def is_own(self, version: str | None) -> bool:
        """Return whether the target still holds what a re-embedding left there.

        Args:
            version: Version that the target has now; None if the document is not there.
        """
        if version is None:
            return not self.target or self.pending == DELETION
        if version == self.target or is_copy(version):
            return True
        # A version without anything after the hash may be an application's: no copy is taken for
        # granted by its content alone.
        return "@" in version and content_of(version) == self.pending

    def encode(self) -> str:
        """Return the entry of the map on disk."""
        target = self.target
        if target.startswith(f"{self.source}@"):
            target = target[len(self.source) :]
        return f"{self.source}|{target}|{self.pending}".rstrip("|")

    @classmethod
    def decode(cls, entry: str) -> Base:
        """Return the base that an entry stands for."""
        source, target, pending = [*entry.split("|"), "", ""][:3]
        return cls(source, source + target if target.startswith("@") else target, pending)


class Bases(Protocol):
    """What a batch needs of a snapshot."""

    def get(self, keys: Iterable[str]) -> dict[str, Base]:
        """Return the bases of those keys that have one."""
        ...

    def put(self, bases: Mapping[str, Base]) -> None:
        """Insert or replace bases."""
        ...


class Snapshot:
    """Bases by key, in a file of a job's folder.

    Args:
        path: The file; None is a temporary one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._entries = DiskMap(path)

    def get(self, keys: Iterable[str]) -> dict[str, Base]:
        """Return the bases of those keys that have one."""
        return {key: Base.decode(entry) for key, entry in self._entries.get(keys).items()}

    def put(self, bases: Mapping[str, Base]) -> None:
        """Insert or replace bases; they are on disk when it returns."""
        if bases:
            self._entries.put({key: base.encode() for key, base in bases.items()})

    def delete(self, keys: Iterable[str]) -> None:
        """Remove bases; unknown keys are ignored."""
        self._entries.delete(keys)

    def pages(self, limit: int, after: str = "") -> Iterator[dict[str, Base]]:
        """Yield all bases after a key in the order of their keys, at most ``limit`` at a time."""
        for page in self._entries.pages(limit, after):
            yield {key: Base.decode(entry) for key, entry in page.items()}

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Close the file; calling it twice is fine."""
        self._entries.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_snapshot(job_folder: Path, *, in_place: bool = False) -> Snapshot:
    """Open the snapshot that a job folder keeps, or create it.

    Args:
        job_folder: Folder of the job.
        in_place: One collection with two vectors needs none; the snapshot is empty and temporary.
    """
    return Snapshot(None if in_place else job_folder / _FILE)


def delete_snapshot(job_folder: Path) -> None:
    """Delete the file, where there is one."""
    (job_folder / _FILE).unlink(missing_ok=True)
