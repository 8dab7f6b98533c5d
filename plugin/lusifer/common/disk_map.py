"""A map on disk with a key for each document of a collection; memory does not grow with it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.common.iteration import chunked
from lusifer.errors import StorageFullError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

__all__ = ["DiskMap"]

_KEYS_AT_ONCE = 500
_CACHE_KIB = 16 * 1024


class DiskMap:
    """A map from text to text in a SQLite file; an entry of two hashes takes 120 to 140 bytes.

    One thread at a time may use it, not necessarily the one that opened it.

    Args:
        path: The file; None is a temporary file that is removed with the map.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._database = sqlite3.connect(
            "" if path is None else path, isolation_level=None, check_same_thread=False
        )
        if path is None:
            self._database.executescript(
                f"PRAGMA cache_size = -{_CACHE_KIB};"
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF"
            )
        self._temporary = path is None
        # Names of the first version: an interrupted re-embedding may have such a file.
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS held "
            "(key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID"
        )
        if self._temporary:
            # Never committed: a transaction for each insert would take seven times as long.
            self._database.execute("BEGIN")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn a full disk into our error.

        Raises:
            StorageFullError: No space is left for the file.
            StoreError: The file can't be written or read.
        """
        try:
            yield
        except sqlite3.OperationalError as error:
            where = "a temporary file" if self._temporary else "the job's file"
            if error.sqlite_errorname == "SQLITE_FULL" or "WRITE" in error.sqlite_errorname:
                raise StorageFullError(
                    f"No space is left for {where} of SQLite: {error}.",
                    next_step="Free space there, or set SQLITE_TMPDIR to a folder with more space."
                    if self._temporary
                    else "Free space there and run again.",
                ) from error
            raise StoreError(
                f"SQLite can't use {where}: {error}.",
                next_step="Check its disk, and that SQLITE_TMPDIR names a folder that can be "
                "written to.",
            ) from error

    def put(self, entries: Mapping[str, str]) -> None:
        """Insert or replace entries; those of a file are on disk when it returns."""
        with self._errors():
            if not self._temporary:
                self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO held VALUES (?, ?)", entries.items())
            if not self._temporary:
                self._database.execute("COMMIT")

    def setdefault(self, key: str, value: str) -> str:
        """Insert an entry unless its key exists; return the value that the key has now."""
        with self._errors():
            if self._database.execute(
                "INSERT OR IGNORE INTO held VALUES (?, ?)", (key, value)
            ).rowcount:
                return value
        return self.get([key])[key]

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the entries of the keys that exist."""
        found: dict[str, str] = {}
        for part in chunked(keys, _KEYS_AT_ONCE):
            marks = ",".join("?" * len(part))
            with self._errors():
                rows = self._database.execute(
                    f"SELECT key, sha256 FROM held WHERE key IN ({marks})",  # noqa: S608
                    part,
                )
                found.update(rows)
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Remove entries; unknown keys are ignored."""
        with self._errors():
            self._database.executemany("DELETE FROM held WHERE key = ?", [(key,) for key in keys])

    def clear(self) -> None:
        """Remove all entries."""
        self._database.execute("DELETE FROM held")

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT count(*) FROM held").fetchone()
        return int(count)

    def pages(self, limit: int, after: str = "") -> Iterator[dict[str, str]]:
        """Yield the entries after a key in the order of their keys, at most ``limit`` at a time."""
        last = after
        while True:
            rows = self._database.execute(
                "SELECT key, sha256 FROM held WHERE key > ? ORDER BY key LIMIT ?", (last, limit)
            ).fetchall()
            if not rows:
                return
            yield dict(rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close the file; calling it twice is fine."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
