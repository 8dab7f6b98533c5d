from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.errors import (
    InvalidDimensionError,
    InvalidInputError,
    InvalidTextError,
    MissingExtraError,
    StoreError,
)
from lusifer.qdrant.embedded import EmbeddedStore
from lusifer.store import Document, Store, check_document, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DIMENSION = 16
FINGERPRINT = "sha256:" + "a" * 64


def documents(count: int, start: int = 0) -> list[Document]:
    return [
        Document(f"doc/{i}", f"text {i}", {"n": i, "tags": ["x", {"y": None}]}) for i in range(start, count)
    ]


def unit(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    result: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return result


class StoreContract:
    """What every store must keep; a subclass gives the fixture ``store``, empty, dimension 16."""

    def test_is_an_empty_store(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert store.fingerprint == FINGERPRINT
        assert store.dimension == DIMENSION
        assert store.count() == 0
        assert store.search(unit(1)[0], 3) == []

    def test_search_is_exact_cosine_best_first(self, store: Store) -> None:
        vectors, queries = unit(300), unit(5, seed=1)
        store.upsert(documents(300), vectors)
        for query in queries:
            scores = vectors @ query
            hits = store.search(query, 10)
            expected = np.argsort(-scores)[:10]
            assert [hit.id for hit in hits] == [f"doc/{i}" for i in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores[expected], abs=1e-5)
        assert len(store.search(queries[0], 1000)) == 300

    def test_a_document_comes_back_as_it_went_in(self, store: Store) -> None:
        metadata = {
            "text": "reserved? no", "empty": {}, "list": [], "none": None, "flag": True, "big": 2**63 - 1,
            "small": -(2**63), "real": 0.1, "nested": [[{"ключ": "значение"}]], "": "no key", "a.b[0]": 1,
        }  # fmt: skip
        document = Document("ид/🙂 1", "текст\n猫\t🙂", metadata)
        store.upsert([document], unit(1))
        (hit,) = store.search(unit(1)[0], 1)
        assert (hit.id, hit.text, hit.metadata) == (document.id, document.text, metadata)
        assert isinstance(hit.metadata["flag"], bool)
        assert hit.score == pytest.approx(1, abs=1e-5)

    def test_writing_again_adds_nothing(self, store: Store) -> None:
        store.upsert(documents(10), unit(10))
        store.upsert(documents(10), unit(10))
        assert store.count() == 10

    def test_unchanged_is_by_text_and_metadata(self, store: Store) -> None:
        old = documents(5)
        store.upsert(old, unit(5))
        assert store.unchanged(old) == {document.id for document in old}
        changed = [
            old[0],
            Document(old[1].id, "other text", old[1].metadata),
            Document(old[2].id, old[2].text, {"n": -1}),
            Document("doc/new", old[3].text, old[3].metadata),
            Document(old[4].id, old[4].text, dict(reversed(old[4].metadata.items()))),
        ]
        assert store.unchanged(changed) == {"doc/0", "doc/4"}
        assert store.unchanged([]) == set()

    def test_same_id_replaces_and_the_last_one_stays(self, store: Store) -> None:
        vectors = unit(3)
        store.upsert([Document("a", "one"), Document("b", "two"), Document("a", "three")], vectors)
        assert store.count() == 2
        assert store.search(vectors[2], 1)[0].text == "three"
        store.upsert([Document("a", "four")], vectors[:1])
        assert store.count() == 2
        hit = store.search(vectors[0], 1)[0]
        assert (hit.text, hit.metadata) == ("four", {})

    def test_bad_input_writes_nothing(self, store: Store) -> None:
        good = documents(2)
        nan = unit(2)
        nan[1, 3] = np.nan
        with pytest.raises(InvalidInputError, match="Vector 1 of 2"):
            store.upsert(good, nan)
        with pytest.raises(InvalidInputError, match="Vector 0 of 2"):
            store.upsert(good, np.zeros((2, DIMENSION), dtype=np.float32))
        with pytest.raises(InvalidInputError, match="2 documents and 3 vectors"):
            store.upsert(good, unit(3))
        with pytest.raises(InvalidDimensionError, match=r"\(2, 8\).*\(N, 16\)"):
            store.upsert(good, unit(2)[:, :8])
        with pytest.raises(InvalidTextError):
            store.upsert([good[0], Document("x", "\ud800")], unit(2))
        assert store.count() == 0

    def test_bad_search(self, store: Store) -> None:
        store.upsert(documents(1), unit(1))
        with pytest.raises(InvalidDimensionError):
            store.search(unit(1)[0, :8], 1)
        with pytest.raises(InvalidInputError):
            store.search(np.full(DIMENSION, np.nan, dtype=np.float32), 1)
        with pytest.raises(InvalidInputError, match="limit is 0"):
            store.search(unit(1)[0], 0)

    def test_optimize_and_flush_keep_everything(self, store: Store) -> None:
        store.upsert(documents(20), unit(20))
        store.flush()
        store.optimize()
        assert store.count() == 20
        assert store.search(unit(20)[7], 1)[0].id == "doc/7"
        store.upsert(documents(21, start=20), unit(1))
        assert store.count() == 21

    def test_closed(self, store: Store) -> None:
        with store:
            store.upsert(documents(1), unit(1))
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.count()
        with pytest.raises(StoreError, match="closed"):
            store.upsert(documents(1), unit(1))


class TestEmbeddedStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        store = EmbeddedStore.create(
            tmp_path / "index", fingerprint=FINGERPRINT, dimension=DIMENSION, model="tiny"
        )
        yield store
        store.close()

    def test_an_operation_may_be_larger_than_the_log(self, store: EmbeddedStore) -> None:
        large = [Document(str(i), f"{i} " + "x" * 9_000_000) for i in range(5)]
        store.upsert(large, unit(5))
        assert store.unchanged(large) == set("01234")


@pytest.mark.parametrize(
    "document",
    [
        Document("", "text"),
        Document(" ", "text"),
        Document("a\x00", "text"),
        Document(3, "text"),  # type: ignore[arg-type]
        Document("a", ""),
        Document("a", "x", {"n": 2**63}),
        Document("a", "x", {"n": float("nan")}),
        Document("a", "x", {"deep": [{"n": float("inf")}]}),
        Document("a", "x", {"n": "\ud800"}),
        Document("a", "x", {"\ud800": 1}),
        Document("a", "x", {1: "n"}),  # type: ignore[dict-item]
        Document("a", "x", {"n": {1, 2}}),  # type: ignore[dict-item]
        Document("a", "x", ["list"]),  # type: ignore[arg-type]
    ],
)
def test_documents_that_would_not_come_back_are_refused(document: Document) -> None:
    with pytest.raises(InvalidInputError):
        check_document(document)


def test_content_hash_is_by_value() -> None:
    first = content_sha256(Document("a", "x", {"k": 1, "l": [1, 2]}))
    assert first == content_sha256(Document("b", "x", {"l": [1, 2], "k": 1}))
    assert first != content_sha256(Document("a", "x", {"k": 1, "l": [2, 1]}))
    assert content_sha256(Document("a", "x", {"k": "1"})) != content_sha256(Document("a", "x", {"k": 1}))


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(MissingExtraError) as caught:
        EmbeddedStore.create(tmp_path / "i", fingerprint=FINGERPRINT, dimension=4, model="m")
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step
    assert not (tmp_path / "i").exists()
