from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer.embedded.store import EmbeddedStore
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.errors import (
    EngineOutputError,
    InvalidDimensionError,
    InvalidInputError,
    StorageFullError,
)
from lusifer.ingest.indexer import IndexReport, index_documents
from lusifer.ingest.sources.base import Rejected
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle

DOCUMENTS = [Document(f"d{i}", f"text number {i}", {"n": i}) for i in range(20)]


@pytest.fixture
def vectorizer(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


@pytest.fixture
def store(tmp_path: Path, vectorizer: Vectorizer) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.create(
        tmp_path / "index",
        fingerprint=vectorizer.fingerprint,
        dimension=vectorizer.dimension,
        model="test",
    ) as opened:
        yield opened


class Trouble:
    """A store that fails, or is interrupted, in its n-th upsert."""

    def __init__(self, store: EmbeddedStore, on: int, error: BaseException) -> None:
        self._store, self._on, self._error = store, on, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        self._on -= 1
        if self._on == 0:
            raise self._error
        self._store.upsert(documents, vectors)


def engine_rows(vectorizer: Vectorizer) -> int:
    assert isinstance(vectorizer.engine, FakeEngine)
    return vectorizer.engine.rows


def test_indexing_twice_adds_nothing(vectorizer: Vectorizer, store: EmbeddedStore) -> None:
    first = index_documents(DOCUMENTS, vectorizer, store, window=8)
    rows = engine_rows(vectorizer)
    second = index_documents(DOCUMENTS, vectorizer, store, window=8)
    assert (first.added, first.unchanged) == (20, 0)
    assert (second.added, second.unchanged, second.tokens) == (0, 20, 0)
    assert engine_rows(vectorizer) == rows
    assert store.count() == 20


def test_a_changed_document_replaces_the_old_one(
    vectorizer: Vectorizer, store: EmbeddedStore
) -> None:
    index_documents(DOCUMENTS, vectorizer, store)
    report = index_documents([Document("d3", "new text")], vectorizer, store)
    assert (report.added, store.count()) == (1, 20)
    hits = store.search(vectorizer.embed_documents(["new text"])[0].vector, 1)
    assert (hits[0].id, hits[0].text) == ("d3", "new text")


def test_repeated_rejected_and_truncated_are_counted(
    vectorizer: Vectorizer, store: EmbeddedStore
) -> None:
    rejected = [Rejected(f"line {i}", "reason", "next") for i in range(150)]
    long = Document("long", "x " * 500_000)
    seen: list[IndexReport] = []
    report = index_documents(
        [DOCUMENTS[0], DOCUMENTS[0], *rejected, long, DOCUMENTS[0]],
        vectorizer,
        store,
        window=10,
        on_progress=seen.append,
    )
    assert (report.added, report.unchanged, report.rejected_count, report.truncated) == (
        2,
        2,
        150,
        1,
    )
    assert report.rejected == tuple(rejected[:100])
    assert seen[-1].read == report.read == 154
    assert store.count() == 2


def test_text_too_long_is_rejected_by_policy(bundle: Bundle, store: EmbeddedStore) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(bundle.manifest.dimension), long_text="error")
    report = index_documents(
        [Document("a", "word " * 1000), Document("b", "short")], vectorizer, store
    )
    assert (report.added, report.rejected_count) == (1, 1)
    assert report.rejected[0].where == "document 'a'"


def test_full_disk_says_how_many_are_safe(vectorizer: Vectorizer, store: EmbeddedStore) -> None:
    full = Trouble(store, 2, StorageFullError("No space.", next_step="Free some."))
    with pytest.raises(StorageFullError, match="8 documents of this run are safe") as caught:
        index_documents(DOCUMENTS, vectorizer, full, window=8)  # type: ignore[arg-type]
    assert "same command" in caught.value.next_step
    assert store.count() == 8
    assert index_documents(DOCUMENTS, vectorizer, store, window=8).added == 12


def test_interrupt_keeps_what_was_stored(vectorizer: Vectorizer, store: EmbeddedStore) -> None:
    report = index_documents(
        DOCUMENTS, vectorizer, Trouble(store, 2, KeyboardInterrupt()), window=8
    )  # type: ignore[arg-type]
    assert (report.interrupted, report.added, store.count()) == (True, 8, 8)
    again = index_documents(DOCUMENTS, vectorizer, store, window=8)
    assert (again.interrupted, again.added, again.unchanged, store.count()) == (False, 12, 8, 20)


def test_a_wrong_vector_is_never_stored(bundle: Bundle, store: EmbeddedStore) -> None:
    engine = FakeEngine(bundle.manifest.dimension, faults=Faults(nan_on={2}))
    with pytest.raises(EngineOutputError):
        index_documents(DOCUMENTS, Vectorizer(bundle, engine), store, window=8)
    assert store.count() == 8


def test_a_window_of_large_documents_ends_early(
    vectorizer: Vectorizer, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by what a window holds, text and fields, not only by how many documents it has."""
    monkeypatch.setattr("lusifer.ingest.indexer.WINDOW_CHARACTERS", 1000)
    large = [Document(f"t{i}", f"{i} " + "x " * 200) for i in range(6)]
    large += [Document(f"f{i}", f"{i}", {"note": "x" * 2000, "n": 1}) for i in range(3)]
    seen: list[IndexReport] = []
    report = index_documents(
        [*large, *DOCUMENTS], vectorizer, store, window=16, on_progress=seen.append
    )
    assert [each.added for each in seen] == [2, 4, 6, 7, 8, 9, 21, 29]
    assert (report.added, store.count()) == (29, 29)


def test_vectors_of_another_length_are_refused_before_anything_is_read(
    vectorizer: Vectorizer, store: EmbeddedStore
) -> None:
    short = Vectorizer(vectorizer.bundle, vectorizer.engine, dimension=8)
    items = iter(DOCUMENTS)
    with pytest.raises(
        InvalidDimensionError, match="keeps vectors of dimension 16, the model in use makes 8"
    ):
        index_documents(items, short, store)
    assert len(list(items)) == len(DOCUMENTS)


def test_window_below_one(vectorizer: Vectorizer, store: EmbeddedStore) -> None:
    with pytest.raises(InvalidInputError):
        index_documents(DOCUMENTS, vectorizer, store, window=0)
