"""Vectors already computed, one SQLite file per model, one row per text: an interrupted run resumes mid-set.

Rows are by text, not by set, so that a sample and the full set share them, and so do sets that
share texts.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.errors import DataError
from lusifer_training.language_subspace import project_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lusifer_training.embedders import EmbedFunction, Role

__all__ = ["CachedEmbedder", "ProjectedEmbedder"]

CHUNK_TEXTS = 2048
CHUNK_CHARACTERS = 200_000
"""Most texts, and about the most characters, between two commits: half a minute that a kill can lose.

An embedder sorts what it gets by tokens, and a few thousand short texts are enough for batches of
like
length: with 256 of them a quarter of all computed tokens would be padding, with 2048 a twentieth.
"""


class ProjectedEmbedder:
    """Another embedder with directions projected out of its vectors, so that both share what is cached.

    Args:
        base: Gives unit vectors.
        basis: Orthonormal directions ``(D, r)``.
    """

    def __init__(self, base: EmbedFunction, basis: np.ndarray) -> None:
        self.base = base
        self.basis = basis
        digest = hashlib.sha256(np.ascontiguousarray(basis, dtype=np.float32).tobytes()).hexdigest()
        self.identity = f"{base.identity}:without:{digest}"

    def __call__(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Unit vectors ``(N, D)`` float32."""
        return project_out(self.base(texts, role), self.basis)


class CachedEmbedder:
    """Embeds each text once.

    Args:
        folder: Holds one file per model.
        embedder: Computes what is missing. Of a projected one, the vectors before the projection
            are kept.
    """

    def __init__(self, folder: Path, embedder: EmbedFunction) -> None:
        self._basis: np.ndarray | None = None
        if isinstance(embedder, ProjectedEmbedder):
            embedder, self._basis = embedder.base, embedder.basis
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{hashlib.sha256(embedder.identity.encode()).hexdigest()[:32]}.sqlite"
        self._embedder = embedder

    def missing(self, texts: Sequence[str], role: Role) -> list[str]:
        """The texts that still have to be computed, each once, shortest first."""
        keys = {_key(text, role): text for text in texts}
        with closing(self._open()) as database:
            found = _select(database, list(keys))
        return sorted((text for key, text in keys.items() if key not in found), key=len)

    def fill(self, texts: Sequence[str], role: Role) -> Iterator[int]:
        """Compute what is missing, and yield how many texts each step added.

        Raises:
            DataError: The embedder gave a wrong number of vectors, or one that isn't finite.
        """
        for chunk in _chunks(self.missing(texts, role)):
            vectors = np.asarray(self._embedder(chunk, role), dtype=np.float32)
            if vectors.ndim != 2 or len(vectors) != len(chunk) or not np.isfinite(vectors).all():
                raise DataError(
                    f"The model gave vectors of shape {vectors.shape} for {len(chunk)} texts, or not all of "
                    "them are finite.",
                    next_step="Try the model with a few texts first.",
                )
            rows = [
                (_key(text, role), vector.tobytes())
                for text, vector in zip(chunk, vectors, strict=True)
            ]
            with closing(self._open()) as database, database:
                database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            yield len(chunk)

    def __call__(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Vectors ``(N, D)`` float32.

        Raises:
            DataError: There are no texts, or the embedder's answer can't be used.
        """
        if not texts:
            raise DataError("There is nothing to embed.", next_step="Give at least one text.")
        for _ in self.fill(texts, role):
            pass
        keys = [_key(text, role) for text in texts]
        with closing(self._open()) as database:
            found = _select(database, keys)
        vectors = np.stack([np.frombuffer(found[key], dtype=np.float32) for key in keys])
        return vectors if self._basis is None else project_out(vectors, self._basis)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=60)
        # Two evaluations may fill one file.
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
        )
        return database


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for text in texts:
        if chunk and (len(chunk) == CHUNK_TEXTS or characters + len(text) > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += len(text)
    if chunk:
        yield chunk


def _key(text: str, role: Role) -> bytes:
    return hashlib.sha256(f"{role}\0{text}".encode()).digest()[:16]


def _select(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        marks = ",".join("?" * len(some))
        found.update(
            database.execute(
                f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608
                some,
            )
        )
    return found
