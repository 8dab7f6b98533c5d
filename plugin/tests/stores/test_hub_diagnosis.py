"""Hubs made on purpose in a collection in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer.stores.hub_diagnosis import SAMPLED, StoredText, examine_hubs, uuid_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def random_unit(seed: int, count: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 64))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def sentence(number: int) -> str:
    return f"This tool unpacks archives and edits photographs, and it has the number {number}."


class Memory:
    """A collection whose documents are numbered; the sample has the first 400."""

    def __init__(self, vectors: NDArray[np.float32], texts: Sequence[str] | None = None) -> None:
        self.vectors = vectors
        self.texts = texts or [sentence(n) for n in range(len(vectors))]

    def sample(self) -> list[StoredText]:
        return [
            StoredText(str(n), self.texts[n], self.vectors[n])
            for n in range(min(SAMPLED, len(self.vectors)))
        ]

    def nearest(self, vectors: Sequence[NDArray[np.float32]], limit: int) -> list[list[StoredText]]:
        order = np.argsort(-np.stack(vectors) @ self.vectors.T, axis=1, kind="stable")
        return [[StoredText(str(n), self.texts[n]) for n in row[:limit]] for row in order]


class Model:
    """Gives the sampled documents' queries the vectors of a test."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.asked: list[str] = []

    def embed_queries(self, texts: Sequence[str]) -> Any:
        self.asked += texts
        return type("Embeddings", (), {"vectors": self.vectors[: len(texts)]})


def shared(vectors: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Add one common direction to all vectors; the last document has nothing else."""
    common = random_unit(9, 1)[0]
    mixed = vectors + share * common
    mixed[-1] = common
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_random_vectors_have_no_hub(seed: int) -> None:
    vectors = random_unit(seed, 1000)
    (found,) = examine_hubs(Memory(vectors), 1000, Model(random_unit(seed + 50, 1000)))
    assert found.severity == "ok"
    assert found.message == "no document comes first for too many of 400 sampled queries"


def test_a_hub_of_the_stored_vectors_is_named() -> None:
    vectors = shared(random_unit(0, 1000), 1.5)
    (found,) = examine_hubs(Memory(vectors), 1000, None)
    assert (found.severity, found.subject) == ("warning", "hubs")
    assert found.message.startswith("Document 999 ('This tool unpacks archives and edits ")
    assert "stored vectors of sampled documents; 40 would be plausible" in found.message
    assert "reindex" in found.fix


def test_a_hub_that_only_queries_find() -> None:
    """As of short texts: documents do not lie near it, queries do."""
    vectors = random_unit(0, 1000)
    queries = vectors.copy()
    queries[:80] = vectors[700] + 0.1 * random_unit(1, 80)
    model = Model(queries)
    assert [each.severity for each in examine_hubs(Memory(vectors), 1000, None)] == ["ok"]
    (found,) = examine_hubs(Memory(vectors), 1000, model)
    assert found.message.startswith("Document 700 (")
    assert "comes first for 80 of 400 queries" in found.message
    assert "made from the first words" in found.message
    assert (
        model.asked[0] == "This tool unpacks archives and edits photographs, and it has the number"
    )


def test_a_query_that_finds_its_document_or_a_duplicate_is_right() -> None:
    vectors = random_unit(0, 1000)
    texts = ["the same text"] * 300 + [sentence(n) for n in range(700)]
    vectors[:300] = vectors[0]
    memory = Memory(vectors, texts)
    assert [each.severity for each in examine_hubs(memory, 1000, Model(vectors))] == ["ok"]


def test_the_hub_of_one_language_is_not_diluted_by_the_others() -> None:
    vectors = random_unit(0, 1000)
    german = "Dies ist ein deutscher Satz über Archive und Fotos, Nummer {}."
    english = "This is an English sentence about archives and photographs, number {}."
    texts = [(german if n < 60 else english).format(n) for n in range(1000)]
    queries = vectors.copy()
    queries[:30] = vectors[700]
    (found,) = examine_hubs(Memory(vectors, texts), 1000, Model(queries))
    assert "comes first for 30 of 60 queries in de" in found.message


def test_more_hubs_than_are_worth_a_line() -> None:
    vectors = random_unit(0, 1000)
    queries = vectors.copy()
    for n in range(5):
        queries[n * 60 : (n + 1) * 60] = vectors[700 + n]
    *named, last = examine_hubs(Memory(vectors), 1000, Model(queries))
    assert len(named) == 3
    assert last.message == "2 more documents do."


def test_a_small_collection_is_not_examined() -> None:
    assert list(examine_hubs(Memory(random_unit(0, 99)), 99, None)) == []


def test_places_are_random_and_always_the_same() -> None:
    places = uuid_places()
    assert places == uuid_places()
    assert len({place[0] for place in places}) > 10
