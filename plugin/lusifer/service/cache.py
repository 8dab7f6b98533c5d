"""Cache of computed vectors, found by a hash of what they were computed from.

The key is a hash over model, role, dimension, policy and text. An entry is thus never stale:
another model has other keys. Weaviate embeds an unchanged object again on every update, and clients
send a batch that failed in part again whole. The cache makes both free.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lusifer.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.types import LongTextPolicy, Role

__all__ = ["MemoryCache", "VectorCache", "cache_key"]

_ENTRY_BYTES = 500
"""Measured overhead of an entry in Python: key, array, dataclass and its place in the order."""


def cache_key(
    fingerprint: str, role: Role, dimension: int, long_text: LongTextPolicy | None, text: str
) -> bytes:
    """Return the 32 bytes that stand for a vector: equal for the same vector and for no other.

    ``long_text`` is None for a text within the token limit, whose vector is the same under every
    policy.
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in (fingerprint, role, str(dimension), long_text or "", text):
        raw = part.encode("utf-8", "surrogatepass")
        # Lengths first: ("ab", "c") must not have the key of ("a", "bc").
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


class VectorCache(Protocol):
    """Contract of a cache. Any thread may call any method."""

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """Return the embedding of each key, None where there is none. Vectors are read-only."""
        ...

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """Store embeddings and delete old ones to make room.

        A cache that can't write logs it and goes on.
        """
        ...

    def clear(self) -> None:
        """Delete all entries, whoever stored them."""
        ...

    def size_bytes(self) -> int:
        """Return the bytes in use, at most the bound."""
        ...

    def close(self) -> None:
        """Release files. Calling it twice is fine."""
        ...


class MemoryCache(VectorCache):
    """The embeddings used last, up to a bound, in this process.

    Args:
        maximum_bytes: Bound for vectors and Python's overhead for them.
    """

    def __init__(self, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._entries: OrderedDict[bytes, Embedding] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """Return the embedding of each key and mark it as used."""
        with self._lock:
            found = [self._entries.get(key) for key in keys]
            for key, hit in zip(keys, found, strict=True):
                if hit is not None:
                    self._entries.move_to_end(key)
        return found

    def put_many(self, items: Sequence[tuple[bytes, Embedding]]) -> None:
        """Store a copy of each embedding; an entry larger than the bound is left out."""
        # A view would keep the whole batch alive and let a caller change what is cached.
        entries = [(key, _frozen(embedding)) for key, embedding in items]
        with self._lock:
            for key, entry in entries:
                if _size(entry) > self._maximum_bytes:
                    # It would push out every other entry, and then itself.
                    continue
                if (old := self._entries.pop(key, None)) is not None:
                    self._bytes -= _size(old)
                self._entries[key] = entry
                self._bytes += _size(entry)
            while self._bytes > self._maximum_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= _size(oldest)

    def clear(self) -> None:
        """Delete all entries."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def size_bytes(self) -> int:
        """Return the bytes of vectors and Python's overhead for them."""
        return self._bytes

    def close(self) -> None:
        """Delete all entries."""
        self.clear()


def _frozen(embedding: Embedding) -> Embedding:
    # An array over bytes can't be made writable again.
    vector = np.frombuffer(embedding.vector.astype(np.float32).tobytes(), np.float32)
    return Embedding(vector, embedding.tokens, embedding.truncated)


def _size(embedding: Embedding) -> int:
    return _ENTRY_BYTES + int(embedding.vector.nbytes)
