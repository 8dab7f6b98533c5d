from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer import Vectorizer
from lusifer.embedding.base import BaseEmbedder, Embedder
from lusifer.engines.fake import FakeEngine
from lusifer.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.bundle.format import Bundle
    from lusifer.types import Role


class Noting(BaseEmbedder):
    """Notes each call; text number n has the vector of n."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], str]] = []
        self.closed = 0

    def embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        self.calls.append((list(texts), role))
        numbers = range(len(texts))
        vectors = np.array([[number] for number in numbers], dtype=np.float32)
        return Embeddings(vectors, tuple(numbers), tuple(number == 1 for number in numbers))

    def close(self) -> None:
        self.closed += 1


def test_each_method_has_its_role() -> None:
    embedder = Noting()
    one = embedder.embed_query("a")
    assert (one.vector.tolist(), one.tokens, one.truncated) == ([0.0], 0, False)
    assert embedder.embed_queries(["a", "b"]).truncated == (False, True)
    assert embedder.embed_documents(["c", "d"]).vectors.tolist() == [[0.0], [1.0]]
    assert embedder.calls == [
        (["a"], "query"),
        (["a", "b"], "query"),
        (["c", "d"], "document"),
    ]


def test_the_end_of_the_block_closes_it() -> None:
    embedder = Noting()
    with pytest.raises(KeyError), embedder as entered:
        assert entered is embedder
        raise KeyError
    assert embedder.closed == 1


def test_embed_and_close_must_be_written() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseEmbedder()  # type: ignore[abstract]


def test_the_vectorizer_keeps_the_contract(bundle: Bundle) -> None:
    assert isinstance(Vectorizer(bundle, FakeEngine(16)), Embedder)
    assert not isinstance(Noting(), Embedder)
