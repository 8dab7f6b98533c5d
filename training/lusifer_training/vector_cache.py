"""A cache of vectors: one SQLite file for each model, one row for each text and role.

Rows are stored by text, not by evaluation set, so that a sample and the full set share them, and so
do sets with common texts. An interrupted run resumes in the middle of a set.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer_training.errors import DataError
from lusifer_training.geometry import Geometry, GeometryEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["CachedEmbedder"]

CHUNK_TEXTS = 2048
CHUNK_CHARACTERS = 200_000
"""Most texts, and about the most characters, between two commits: a kill loses half a minute.

An embedder sorts its texts by tokens. With 2048 short texts a twentieth of all computed tokens is
padding, with 256 a quarter.
"""
_KEYS_AT_ONCE = 500


class CachedEmbedder:
    """Embed each text once.

    Args:
        folder: Holds one file for each model.
        embedder: Computes the missing vectors. Those of an embedder with a geometry are stored as
            they are before it.
    """

    def __init__(self, folder: Path, embedder: EmbedFunction) -> None:
        self.identity = embedder.identity
        self._embedder = embedder
        self._geometry: Geometry | None = None
        if isinstance(embedder, GeometryEmbedder):
            self._embedder, self._geometry = embedder.base, embedder.geometry
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self._embedder.identity.encode()).hexdigest()[:32]
        self.path = folder / f"{name}.sqlite"

    def missing(self, texts: Sequence[str], role: Role) -> list[str]:
        """Return the texts that are not stored yet, each once, shortest first."""
        keys = {_key(text, role): text for text in texts}
        with closing(self._open()) as database:
            found = _select(database, list(keys))
        return sorted((text for key, text in keys.items() if key not in found), key=len)

    def fill(self, texts: Sequence[str], role: Role) -> Iterator[int]:
        """Compute the missing vectors, and yield the number of texts that each step added.

        Raises:
            DataError: The embedder returned a wrong number of vectors, or one that isn't finite.
        """
        missing = self.missing(texts, role)
        for chunk in chunked(missing, CHUNK_TEXTS, size=len, maximum_size=CHUNK_CHARACTERS):
            vectors = np.asarray(self._embedder(chunk, role), dtype=np.float32)
            if vectors.ndim != 2 or len(vectors) != len(chunk) or not np.isfinite(vectors).all():
                raise DataError(
                    f"The model returned vectors of shape {vectors.shape} for {len(chunk)} texts, "
                    "or not all of them are finite.",
                    next_step="Try the model with a few texts first.",
                )
            rows = [
                (_key(text, role), vector.tobytes())
                for text, vector in zip(chunk, vectors, strict=True)
            ]
            with closing(self._open()) as database, database:
                database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            yield len(chunk)

    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        """Return vectors ``(N, D)`` float32, and compute those that are missing.

        Raises:
            DataError: There are no texts, or the embedder's answer can't be used.
        """
        if not texts:
            raise DataError("There are no texts to embed.", next_step="Give at least one text.")
        for _ in self.fill(texts, role):
            pass
        keys = [_key(text, role) for text in texts]
        with closing(self._open()) as database:
            found = _select(database, keys)
        vectors = np.stack([np.frombuffer(found[key], dtype=np.float32) for key in keys])
        return vectors if self._geometry is None else self._geometry.apply(vectors)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=60)
        # Two evaluations may fill one file.
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
        )
        return database


def _key(text: str, role: Role) -> bytes:
    return hashlib.sha256(f"{role}\0{text}".encode()).digest()[:16]


def _select(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for some in chunked(keys, _KEYS_AT_ONCE):
        marks = ",".join("?" * len(some))
        found.update(
            database.execute(
                f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608
                some,
            )
        )
    return found
