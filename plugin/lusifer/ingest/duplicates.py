"""Notices an id that comes twice, in memory that does not grow with their number."""

from __future__ import annotations

import hashlib
import sqlite3

__all__ = ["DuplicateIds"]

_CACHE_KIB = 16 * 1024


class DuplicateIds:
    """Which content each id had, in a private temporary file of SQLite's: constant memory, gone with us."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def forget(self) -> None:
        """Begin anew."""
        if self._database is not None:
            self._database.close()
        # Read by one thread at a time, which need not be the one that opened it.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(
            f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE seen (id BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID; BEGIN"
        )

    def same(self, id_: str, content: str) -> bool:
        """Note the content of an id; False where the id came with another content before."""
        if self._database is None:
            self.forget()
            return self.same(id_, content)
        key, checksum = (
            hashlib.blake2b(text.encode(), digest_size=16).digest() for text in (id_, content)
        )
        inserted = self._database.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, checksum)
        )
        if inserted.rowcount:
            return True
        (before,) = self._database.execute(
            "SELECT content FROM seen WHERE id = ?", (key,)
        ).fetchone()
        return bool(before == checksum)

    def __del__(self) -> None:
        if self._database is not None:
            self._database.close()
