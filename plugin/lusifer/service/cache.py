"""Vectors that were computed before, found by what they are vectors of.

The key is a hash over model, role, dimension, policy and text, so an entry is never stale: another
model has other keys. Weaviate embeds an unchanged object again on every update, and a batch that
failed in part is sent again whole; both cost nothing then.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import sqlite3
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from lusifer.errors import LusiferError, SettingsError, StorageFullError
from lusifer.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lusifer.types import LongTextPolicy, Role

__all__ = ["DiskCache", "MemoryCache", "VectorCache", "cache_key"]

_LOG = logging.getLogger(__name__)

_ENTRY_BYTES = 500
"""What Python needs for an entry beside its numbers: key, array, dataclass, place in the order
(measured)."""

_APPLICATION = 0x4C555346
"""Marks the SQLite file as ours: "LUSF"."""
_SCHEMA = 1
_PAGE_BYTES = 4096
_MINIMUM_BYTES = 2**20
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
_INSERT = "INSERT OR REPLACE INTO vectors (key, vector, tokens, truncated, check_sum) VALUES (?, ?, ?, ?, ?)"
_MOVE_TO_END = "UPDATE vectors SET id = (SELECT max(id) + 1 FROM vectors) WHERE key = ?"
_DELETE_OLDEST = "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY id LIMIT ?)"


def cache_key(
    fingerprint: str, role: Role, dimension: int, long_text: LongTextPolicy | None, text: str
) -> bytes:
    """32 bytes that stand for a vector: the same for the same vector, and for no other.

    ``long_text`` is None for a text within the token limit, which has the same vector under every
    policy.
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in (fingerprint, role, str(dimension), long_text or "", text):
        raw = part.encode("utf-8", "surrogatepass")
        # Lengths first: ("ab", "c") must not be ("a", "bc").
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


class VectorCache(Protocol):
    """What the service and re-embedding expect of a cache; all methods may be called from any thread."""

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """The embedding of each key, None where there is none."""
        ...

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """Keep embeddings; old ones make room. A cache that can't write says so in the log and goes on."""
        ...

    def clear(self) -> None:
        """Forget everything, whoever put it there."""
        ...

    def size_bytes(self) -> int:
        """What is used of the bound."""
        ...

    def close(self) -> None:
        """Give back files; calling it twice is fine."""
        ...


class MemoryCache:
    """The embeddings used last, up to a bound.

    Args:
        maximum_bytes: Vectors and Python's overhead for them.
    """

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._entries: OrderedDict[bytes, Embedding] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """See :class:`VectorCache`; the vectors are read-only."""
        with self._lock:
            found = [self._entries.get(key) for key in keys]
            for key, hit in zip(keys, found, strict=True):
                if hit is not None:
                    self._entries.move_to_end(key)
        return found

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """See :class:`VectorCache`."""
        # A copy of each row: a view would keep the whole batch alive, and let a caller change what
        # is cached.
        entries = [(key, _frozen(embedding)) for key, embedding in items]
        with self._lock:
            for key, entry in entries:
                if (
                    _size(entry) > self._maximum_bytes
                ):  # else it would push out everything, and itself
                    continue
                if (old := self._entries.pop(key, None)) is not None:
                    self._bytes -= _size(old)
                self._entries[key] = entry
                self._bytes += _size(entry)
            while self._bytes > self._maximum_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= _size(oldest)

    def clear(self) -> None:
        """See :class:`VectorCache`."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def size_bytes(self) -> int:
        """See :class:`VectorCache`."""
        return self._bytes

    def close(self) -> None:
        """Forget everything."""
        self.clear()


class DiskCache:
    """One SQLite file that several processes may use at once: a service and a re-embedding job.

    Rows stand in the order of their last use, so the oldest lie side by side and whole pages come
    free with them. A row that is read moves to the end, but only from the older half of a cache
    that fills up, and many rows at a time: otherwise every read would be a write.

    Args:
        path: The file; made if missing. SQLite's ``-wal`` and ``-shm`` lie beside it.
        maximum_bytes: Of file and write-ahead log together, at least 1 MiB. The log may be longer
            for as long as another process reads without a pause.

    Raises:
        SettingsError: The file is damaged, of a newer version or no vector cache, or can't be
            opened.
        StorageFullError: The disk is full.
    """

    def __init__(self, path: Path, maximum_bytes: int) -> None:
        if maximum_bytes < _MINIMUM_BYTES:
            raise SettingsError(
                f"A vector cache of {maximum_bytes} bytes is too small, it needs {_MINIMUM_BYTES} or more.",
                next_step="Give it more room, or switch it off.",
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
        """Rows with an id up to this one are worth moving when they are read."""
        self._closed = False
        self._warned_s = -math.inf
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
        """See :class:`VectorCache`; a row that fails its checksum is deleted and counts as missing."""
        found: dict[bytes, Embedding] = {}
        with self._guarded("read"):
            damaged: list[tuple[int]] = []
            for part in _parts(list(dict.fromkeys(keys)), 500):
                marks = ",".join("?" * len(part))
                for number, key, *row, check_sum in self._database.execute(
                    f"{_SELECT} ({marks})", part
                ):
                    vector, tokens, truncated = row
                    if not isinstance(vector, bytes) or check_sum != _check_sum(key, *row):
                        damaged.append((number,))
                        continue
                    found[key] = Embedding(np.frombuffer(vector, _FLOAT), tokens, bool(truncated))
                    if number <= self._older_half:
                        self._used.add(key)
            if damaged:
                _LOG.warning(
                    "%d damaged rows of the vector cache %s are dropped", len(damaged), self._path
                )
                with self._transaction():
                    self._database.executemany("DELETE FROM vectors WHERE id = ?", damaged)
            if len(self._used) >= _USES_AT_ONCE:
                with self._transaction():
                    self._move_used()
        return [found.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """See :class:`VectorCache`; a process killed in the middle leaves a readable file."""
        rows = [_row(key, embedding) for key, embedding in items]
        with self._guarded("written"):
            for part in _parts(rows, self._rows_at_once):
                with self._transaction():
                    self._move_used()
                    self._make_room(sum(2 + len(row[1]) // _PAGE_BYTES for row in part))
                    self._database.executemany(_INSERT, part)

    def clear(self) -> None:
        """See :class:`VectorCache`; what other processes stored goes too."""
        with self._guarded("emptied"), self._transaction():
            self._used.clear()
            self._older_half = -1
            self._database.execute("DELETE FROM vectors")

    def size_bytes(self) -> int:
        """See :class:`VectorCache`; what all processes stored together."""
        pages = 0
        with self._guarded("read"):
            pages = self._pages()
        return pages * _PAGE_BYTES

    def close(self) -> None:
        """Write down what was used, and close the file."""
        with self._guarded("written"), self._transaction():
            self._move_used()
        with self._lock:
            self._closed = True
            self._database.close()

    def _prepare(self) -> None:
        database = self._database
        # A damaged row may claim to be text; as bytes it reaches the checksum.
        database.text_factory = bytes
        application, version = self._number("application_id"), self._number("user_version")
        if (
            application != _APPLICATION
            and database.execute("SELECT 1 FROM sqlite_master").fetchone()
        ):
            raise SettingsError(
                f"{self._path} is a database, but not a vector cache.",
                next_step="Name another file.",
            )
        if version > _SCHEMA:
            raise SettingsError(
                f"The vector cache {self._path} has version {version}, this LUSIFER reads up to {_SCHEMA}.",
                next_step="Upgrade LUSIFER, or name another file.",
            )
        if not version:
            # Only a file without tables takes these two.
            database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may lose the last vectors, never damage the file.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages // 2}")
        database.execute(f"PRAGMA journal_size_limit = {self._log_pages * _PAGE_BYTES}")
        with self._transaction():
            database.execute(_TABLE)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_SCHEMA}")
            self._make_room(0)
        # The bound may be lower than last time.
        surplus = self._number("page_count") - self._maximum_pages
        if surplus > 0:
            # As a script: execute() would stop after the first page.
            database.executescript(f"PRAGMA incremental_vacuum({surplus})")
        # SQLite itself refuses to grow the file further, should an estimate be wrong.
        database.execute(f"PRAGMA max_page_count = {self._maximum_pages}")

    def _number(self, pragma: str) -> int:
        return int(self._database.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _pages(self) -> int:
        return self._number("page_count") - self._number("freelist_count")

    def _make_room(self, pages: int) -> None:
        """Delete the rows used longest ago until so many more pages fit, and some more so that it is rare."""
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
        # First, or a disk that stays full would let the set grow.
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
        """Hold the lock, and keep the cache's trouble (a full disk, say) from becoming a request's."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                now_s = time.monotonic()
                if not self._closed and now_s - self._warned_s > _WARN_AGAIN_S:
                    self._warned_s = now_s
                    _LOG.warning("the vector cache %s can't be %s: %s", self._path, verb, error)


def _frozen(embedding: Embedding) -> Embedding:
    # Over bytes, so that nobody can make it writable again.
    vector = np.frombuffer(embedding.vector.astype(np.float32).tobytes(), np.float32)
    return Embedding(vector, embedding.tokens, embedding.truncated)


def _size(embedding: Embedding) -> int:
    return _ENTRY_BYTES + int(embedding.vector.nbytes)


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


def _check_sum(key: bytes, vector: bytes, tokens: int, truncated: int) -> bytes:
    return hashlib.blake2b(key + vector + f"{tokens} {truncated}".encode(), digest_size=8).digest()


_Part = TypeVar("_Part")


def _parts(whole: Sequence[_Part], length: int) -> Iterator[Sequence[_Part]]:
    return (whole[start : start + length] for start in range(0, len(whole), length))


def _refused(path: Path, error: Exception) -> LusiferError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return StorageFullError(
            f"The disk has no room for the vector cache {path}: {error}.",
            next_step="Free some space, or name another place.",
        )
    return SettingsError(
        f"The vector cache {path} can't be opened: {error}.",
        next_step="Remove the file (it is only a cache), or name another place.",
    )
