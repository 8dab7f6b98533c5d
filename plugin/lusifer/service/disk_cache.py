"""The cache of vectors on disk: one SQLite file for several processes."""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.paths import make_private
from lusifer.errors import LusiferError, SettingsError, StorageFullError
from lusifer.service.cache import VectorCache
from lusifer.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["DiskCache"]

_LOG = logging.getLogger(__name__)

_APPLICATION = 0x4C555346
"""SQLite application id of our files: "LUSF"."""
_SCHEMA = 1
_PAGE_BYTES = 4096
_MINIMUM_BYTES = 2**20
_KEYS_AT_ONCE = 500
_USES_AT_ONCE = 1000
_WARN_AGAIN_S = 60.0
_FLOAT = np.dtype("<f4")

_TABLE = """
    CREATE TABLE IF NOT EXISTS vectors (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL,
        tokens INTEGER NOT NULL, truncated INTEGER NOT NULL, check_sum BLOB NOT NULL
    )
"""
_SELECT = "SELECT id, key, vector, tokens, truncated, check_sum FROM vectors WHERE key IN"
_INSERT = (
    "INSERT OR REPLACE INTO vectors (key, vector, tokens, truncated, check_sum) "
    "VALUES (?, ?, ?, ?, ?)"
)
_MOVE_TO_END = "UPDATE vectors SET id = (SELECT max(id) + 1 FROM vectors) WHERE key = ?"
_DELETE_OLDEST = "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT ?)"


class DiskCache(VectorCache):
    """One SQLite file that several processes may use at once.

    Rows lie in the order of their last use. The oldest thus lie side by side, and deleting them
    frees whole pages. A row that is read moves to the end only if it lies in the older half of a
    cache that is filling up. Many rows move at a time. Otherwise every read would be a write.

    Args:
        path: File of the cache, created if missing. SQLite's ``-wal`` and ``-shm`` lie beside it.
        maximum_bytes: Bound for file and write-ahead log together, at least 1 MiB. The log may
            grow beyond it while another process reads without a pause.

    Raises:
        SettingsError: The file is damaged, has a newer version, is no vector cache or can't be
            opened.
        StorageFullError: The disk is full.
    """

    def __init__(self, path: Path, maximum_bytes: int) -> None:
        if maximum_bytes < _MINIMUM_BYTES:
            raise SettingsError(
                f"A vector cache of {maximum_bytes} bytes is too small, the minimum is "
                f"{_MINIMUM_BYTES}.",
                next_step="Raise cache_bytes, or set cache to off.",
            )
        log_bytes = maximum_bytes // 8
        self._path = path
        self._maximum_pages = (maximum_bytes - log_bytes) // _PAGE_BYTES
        self._log_pages = log_bytes // 2 // _PAGE_BYTES
        # A row changes up to two pages, and a transaction must fit into the log.
        self._rows_at_once = max(1, min(500, self._log_pages // 8))
        self._lock = threading.Lock()
        self._used: set[bytes] = set()
        self._older_half = -1
        """Largest id of the rows that move to the end when they are read."""
        self._closed = False
        self._warned_s = -math.inf
        try:
            make_private(path.parent)
            # SQLite gives its -wal and -shm the permissions of the file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(
                path, timeout=30, check_same_thread=False, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise _refused(path, error) from error
        except SettingsError:
            self._database.close()
            raise

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """Return the embedding of each key; delete rows that fail their checksum, and miss them."""
        found: dict[bytes, Embedding] = {}
        with self._guarded("read"):
            damaged: list[tuple[int]] = []
            for part in chunked(dict.fromkeys(keys), _KEYS_AT_ONCE):
                marks = ",".join("?" * len(part))
                for number, key, *row, check_sum in self._database.execute(
                    f"{_SELECT} ({marks})", part
                ):
                    vector, tokens, truncated = row
                    if not _is_whole(vector, tokens) or check_sum != _check_sum(key, *row):
                        damaged.append((number,))
                        continue
                    found[key] = Embedding(np.frombuffer(vector, _FLOAT), tokens, bool(truncated))
                    if number <= self._older_half:
                        self._used.add(key)
            if damaged:
                _LOG.warning(
                    "%d damaged rows of the vector cache %s were deleted", len(damaged), self._path
                )
                with self._transaction():
                    self._database.executemany("DELETE FROM vectors WHERE id = ?", damaged)
            if len(self._used) >= _USES_AT_ONCE:
                with self._transaction():
                    self._move_used()
        return [found.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """Store embeddings; a process killed in the middle leaves a readable file."""
        rows = [_row(key, embedding) for key, embedding in items]
        with self._guarded("written"):
            for part in chunked(rows, self._rows_at_once):
                with self._transaction():
                    self._move_used()
                    self._make_room(sum(2 + len(row[1]) // _PAGE_BYTES for row in part))
                    self._database.executemany(_INSERT, part)

    def clear(self) -> None:
        """Delete all entries, also those of other processes."""
        with self._guarded("emptied"), self._transaction():
            self._used.clear()
            self._older_half = -1
            self._database.execute("DELETE FROM vectors")

    def size_bytes(self) -> int:
        """Return the bytes of the entries of all processes."""
        pages = 0
        with self._guarded("read"):
            pages = self._pages()
        return pages * _PAGE_BYTES

    def close(self) -> None:
        """Store the order of the last uses and close the file."""
        with self._guarded("written"), self._transaction():
            self._move_used()
        with self._lock:
            self._closed = True
            self._database.close()

    def _prepare(self) -> None:
        database = self._database
        # A damaged row may have the type text. Read as bytes it reaches the checksum.
        database.text_factory = bytes
        application, version = self._number("application_id"), self._number("user_version")
        if (
            application != _APPLICATION
            and database.execute("SELECT 1 FROM sqlite_master").fetchone()
        ):
            raise SettingsError(
                f"{self._path} is a database, but not a vector cache.",
                next_step="Set cache_path to another file.",
            )
        if version > _SCHEMA:
            raise SettingsError(
                f"The vector cache {self._path} has version {version}, this LUSIFER reads up to "
                f"{_SCHEMA}.",
                next_step="Upgrade LUSIFER, or set cache_path to another file.",
            )
        if not version:
            # SQLite takes these two only for a file without tables.
            database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may lose the last vectors, but never damages the file.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages // 2}")
        database.execute(f"PRAGMA journal_size_limit = {self._log_pages * _PAGE_BYTES}")
        with self._transaction():
            database.execute(_TABLE)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_SCHEMA}")
            self._make_room(0)
        # The bound may be lower than when the file was last open.
        surplus = self._number("page_count") - self._maximum_pages
        if surplus > 0:
            # As a script, because execute() stops after the first page.
            database.executescript(f"PRAGMA incremental_vacuum({surplus})")
        # If an estimate is wrong, SQLite itself refuses to grow the file further.
        database.execute(f"PRAGMA max_page_count = {self._maximum_pages}")

    def _number(self, pragma: str) -> int:
        return int(self._database.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _pages(self) -> int:
        return self._number("page_count") - self._number("freelist_count")

    def _make_room(self, pages: int) -> None:
        """Delete the rows used longest ago until ``pages`` more pages fit.

        It deletes 2% more than needed, so that it runs rarely.
        """
        excess = self._pages() + pages - self._maximum_pages
        if excess > 0:
            goal = max(0, self._maximum_pages - pages - self._maximum_pages // 50)
            rows = 16
            while self._pages() > goal and self._database.execute(_DELETE_OLDEST, (rows,)).rowcount:
                rows *= 2
        first, last = self._database.execute("SELECT min(id), max(id) FROM vectors").fetchone()
        filling = last is not None and self._pages() > self._maximum_pages // 2
        self._older_half = (first + last) // 2 if filling else -1

    def _move_used(self) -> None:
        used = [(key,) for key in self._used]
        # Before the write, because on a full disk the set would grow without bound.
        self._used.clear()
        self._database.executemany(_MOVE_TO_END, used)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite itself rolls back on some errors
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _guarded(self, verb: str) -> Iterator[None]:
        """Hold the lock; log SQLite errors (a full disk, for example) instead of raising them."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                now_s = time.monotonic()
                if not self._closed and now_s - self._warned_s > _WARN_AGAIN_S:
                    self._warned_s = now_s
                    _LOG.warning("the vector cache %s can't be %s: %s", self._path, verb, error)


def _row(key: bytes, embedding: Embedding) -> tuple[bytes, bytes, int, int, bytes]:
    vector = embedding.vector.astype(_FLOAT).tobytes()
    truncated = int(embedding.truncated)
    return (
        key,
        vector,
        embedding.tokens,
        truncated,
        _check_sum(key, vector, embedding.tokens, truncated),
    )


def _is_whole(vector: object, tokens: object) -> bool:
    return (
        isinstance(vector, bytes)
        and len(vector) % _FLOAT.itemsize == 0
        and isinstance(tokens, int)
        and tokens >= 0
    )


def _check_sum(key: bytes, vector: bytes, tokens: int, truncated: int) -> bytes:
    return hashlib.blake2b(key + vector + f"{tokens} {truncated}".encode(), digest_size=8).digest()


def _refused(path: Path, error: Exception) -> LusiferError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return StorageFullError(
            f"The disk has no room for the vector cache {path}: {error}.",
            next_step="Free space, or set cache_path to another disk.",
        )
    return SettingsError(
        f"The vector cache {path} can't be opened: {error}.",
        next_step="Remove the file (it is only a cache), or set cache_path to another file.",
    )
