"""A model that hashes texts, a plan, and a folder in memory, for all tests of re-embedding."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.common.validation import check_text
from lusifer.errors import InvalidInputError
from lusifer.reindex.plan import Estimate, Location, Model, Plan
from lusifer.types import Embedding, Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

DIMENSION = 8


def fast_folder() -> Path:
    """Return a new folder, in memory if possible: hundreds of flushes would wait for a slow disk."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return Path(tempfile.mkdtemp(dir=memory if roomy else None))


class TextEmbedder:
    """A vector for each text by hashing it; another seed is another model.

    ``during`` is called once, in the middle of an embedding.
    """

    role_prompts: Mapping[str, str] = {"query": "", "document": ""}

    def __init__(self, seed: int, dimension: int = DIMENSION) -> None:
        self.seed = seed
        self.dimension = dimension
        self.model_name = f"model-{seed}"
        self.fingerprint = "sha256:" + f"{seed:x}" * 64
        self.texts = 0
        self.during: Callable[[], None] | None = None

    def vector(self, text: str) -> NDArray[np.float32]:
        digest = hashlib.sha256(f"{self.seed} {text}".encode()).digest()
        vector = np.random.default_rng(list(digest)).normal(size=self.dimension)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def stream(self, texts: Iterable[str], role: str, *, window: int = 512) -> Iterator[Any]:
        during, self.during = self.during, None
        if during is not None:
            during()
        for text in texts:
            self.texts += 1
            try:
                check_text(text)
            except InvalidInputError as error:
                yield error
            else:
                yield Embedding(self.vector(text), len(text.split()), False)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self.embed_documents(texts)

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.stack([self.vector(text) for text in texts])
        return Embeddings(vectors, (1,) * len(texts), (False,) * len(texts))

    def embed_query(self, text: str) -> Embedding:
        return self.embed_queries([text])[0]

    def close(self) -> None:
        pass


OLD, NEW = TextEmbedder(1), TextEmbedder(2)


def make_plan(**changes: Any) -> Plan:
    place = Location(kind="embedded", address="here", collection="v1")
    values: dict[str, Any] = {
        "id": "test",
        "created": "2026-01-01T00:00:00+00:00",
        "lusifer": "test",
        "source": place,
        "target": place.model_copy(update={"collection": "v2"}),
        "in_place": False,
        "alias": "live",
        "model": Model(name=NEW.model_name, fingerprint=NEW.fingerprint, dimension=DIMENSION),
        "old_model": Model(name=OLD.model_name, fingerprint=OLD.fingerprint, dimension=DIMENSION),
        "window": 4,
        "estimate": Estimate(
            documents=0, sampled=0, languages={}, tokens=0, tokens_per_s=1, seconds=0, index_bytes=0
        ),
    }
    return Plan(**{**values, **changes})
