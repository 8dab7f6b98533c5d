"""Vectors that were computed before, found by what they are vectors of.

The key is a hash over model, role, dimension, policy and text, so an entry is never stale: another model has
other keys. Weaviate embeds an unchanged object again on every update, and a batch that failed in part is sent
again whole; both cost nothing then.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lusifer.errors import SettingsError
from lusifer.vectorizer import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lusifer.vectorizer import LongTextPolicy, Role

__all__ = ["DiskCache", "MemoryCache", "VectorCache", "cache_key"]

_LOG = logging.getLogger(__name__)

_ENTRY_BYTES = 500
"""What Python needs for an entry beside its numbers: key, array, dataclass, place in the order (measured)."""

_SCHEMA = 1
_INSERT = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?)"
_CHUNK = 500  # SQLite takes a limited number of parameters in one statement
_FLUSH_USES = 2000
_FLUSH_S = 30.0


def cache_key(fingerprint: str, role: Role, dimension: int, long_text: LongTextPolicy, text: str) -> bytes:
    """32 bytes that stand for a vector: the same for the same vector, and for no other."""
    digest = hashlib.blake2b(digest_size=32)
    for part in (fingerprint, role, str(dimension), long_text, text):
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
        # A copy of each row: a view would keep the whole batch alive, and let a caller change what is cached.
        entries = [(key, _frozen(embedding)) for key, embedding in items]
        with self._lock:
            for key, entry in entries:
                if (old := self._entries.pop(key, None)) is not None:
                    self._bytes -= _size(old)
                self._entries[key] = entry
                self._bytes += _size(entry)
            while self._bytes > self._maximum_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= _size(oldest)

    def size_bytes(self) -> int:
        """See :class:`VectorCache`."""
        return self._bytes

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0


class DiskCache:
    """One SQLite file that several processes may use at once: a service and a re-embedding job.

    Args:
        path: The file; made if missing.
        maximum_bytes: Vectors and their rows; SQLite's own pages add about a tenth.

    Raises:
        SettingsError: The file is damaged, of a newer version, or can't be opened.
    """

    def __init__(self, path: Path, maximum_bytes: int) -> None:
        self._path = path
        self._maximum_bytes = maximum_bytes
        self._lock = threading.Lock()
        self._used: set[bytes] = set()
        self._flushed_s = time.monotonic()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"The vector cache {path} can't be opened: {error}.",
                next_step="Remove the file (it is only a cache), or name another place.",
            ) from error

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """See :class:`VectorCache`; a row that fails its checksum is deleted and counts as missing."""
        found: dict[bytes, Embedding] = {}
        damaged: list[bytes] = []
        with self._lock:
            try:
                for part in _parts(list(dict.fromkeys(keys))):
                    marks = ",".join("?" * len(part))
                    query = "SELECT key, vector, tokens, truncated, check_sum FROM vectors WHERE key IN"
                    rows = self._database.execute(f"{query} ({marks})", part)
                    for key, vector, tokens, truncated, check_sum in rows:
                        if check_sum == _check_sum(key, vector, tokens, truncated):
                            found[key] = Embedding(np.frombuffer(vector, np.float32), tokens, bool(truncated))
                        else:
                            damaged.append(key)
                if damaged:
                    _LOG.warning(
                        "%d damaged rows in the vector cache %s are dropped", len(damaged), self._path
                    )
                    self._database.executemany("DELETE FROM vectors WHERE key = ?", [(k,) for k in damaged])
                self._used.update(found)
                self._flush(force=False)
            except sqlite3.Error as error:
                _LOG.warning("the vector cache %s can't be read: %s", self._path, error)
        return [found.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """See :class:`VectorCache`; all of them are written in one transaction, or none."""
        if not items:
            return
        now_s = int(time.time())
        rows = [(*_row(key, embedding), now_s) for key, embedding in items]
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    self._database.executemany(_INSERT, rows)
                    self._evict()
                    self._database.execute("COMMIT")
                except sqlite3.Error:
                    self._database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                # A full disk, say. The vectors are computed and right; only the next request pays again.
                _LOG.warning("the vector cache %s can't be written: %s", self._path, error)

    def size_bytes(self) -> int:
        """See :class:`VectorCache`; what all processes stored together."""
        with self._lock:
            try:
                return self._size()
            except sqlite3.Error:
                return 0

    def close(self) -> None:
        """Write down what was used, and close the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._flush(force=True)
            except sqlite3.Error as error:
                _LOG.warning("the vector cache %s can't be written: %s", self._path, error)
            self._database.close()

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may lose the last vectors, never damage the file.
        self._database.execute("PRAGMA synchronous = NORMAL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA:
            raise SettingsError(
                f"The vector cache {self._path} has version {version}, this LUSIFER reads up to {_SCHEMA}.",
                next_step="Upgrade LUSIFER, or name another file.",
            )
        self._database.executescript(
            """
            CREATE TABLE IF NOT EXISTS vectors (
                key BLOB PRIMARY KEY, vector BLOB NOT NULL, tokens INTEGER NOT NULL,
                truncated INTEGER NOT NULL, check_sum BLOB NOT NULL, used_s INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE INDEX IF NOT EXISTS by_use ON vectors (used_s);
            -- Summed by triggers: adding up a million rows at each write would be slower than the model.
            CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
            INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
            CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON vectors BEGIN
                UPDATE total SET bytes = bytes + length(NEW.vector) + 100; END;
            CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON vectors BEGIN
                UPDATE total SET bytes = bytes - length(OLD.vector) - 100; END;
            """
        )
        self._database.execute(f"PRAGMA user_version = {_SCHEMA}")
        # Else INSERT OR REPLACE would remove the old row behind the trigger's back.
        self._database.execute("PRAGMA recursive_triggers = ON")

    def _size(self) -> int:
        return int(self._database.execute("SELECT bytes FROM total").fetchone()[0])

    def _evict(self) -> None:
        # A tenth at a time, so that it is rare.
        excess = self._size() - self._maximum_bytes
        if excess <= 0:
            return
        goal = excess + self._maximum_bytes // 10
        oldest = self._database.execute("SELECT key, length(vector) + 100 FROM vectors ORDER BY used_s")
        doomed: list[tuple[bytes]] = []
        for key, size in oldest:
            doomed.append((key,))
            goal -= size
            if goal <= 0:
                break
        self._database.executemany("DELETE FROM vectors WHERE key = ?", doomed)

    def _flush(self, *, force: bool) -> None:
        """Note the time of use of what was read, in batches: a write for every read would be slow."""
        due = len(self._used) >= _FLUSH_USES or time.monotonic() - self._flushed_s > _FLUSH_S
        if not self._used or not (force or due):
            return
        now_s = int(time.time())
        self._database.executemany(
            "UPDATE vectors SET used_s = ? WHERE key = ?", [(now_s, key) for key in self._used]
        )
        self._used.clear()
        self._flushed_s = time.monotonic()


def _frozen(embedding: Embedding) -> Embedding:
    vector = embedding.vector.copy()
    vector.flags.writeable = False
    return Embedding(vector, embedding.tokens, embedding.truncated)


def _size(embedding: Embedding) -> int:
    return _ENTRY_BYTES + int(embedding.vector.nbytes)


def _row(key: bytes, embedding: Embedding) -> tuple[bytes, bytes, int, int, bytes]:
    vector = np.ascontiguousarray(embedding.vector, np.float32).tobytes()
    truncated = int(embedding.truncated)
    return key, vector, embedding.tokens, truncated, _check_sum(key, vector, embedding.tokens, truncated)


def _check_sum(key: bytes, vector: bytes, tokens: int, truncated: int) -> bytes:
    return hashlib.blake2b(key + vector + f"{tokens} {truncated}".encode(), digest_size=8).digest()


def _parts(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
