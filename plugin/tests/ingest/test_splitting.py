from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("qdrant_edge")
pytest.importorskip("semantic_text_splitter")


from lusifer.embedded.store import EmbeddedStore
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.ingest.indexer import index_documents
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.splitting import DocumentSplitter
from lusifer.ingest.sync import SourceSync
from lusifer.stores.parts import PART, PART_OF, part_id, search_documents
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.bundle.format import Bundle
    from lusifer.ingest.indexer import IndexReport

SENTENCES = "The cat sits on the mat. The dog runs in the park. "


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


def index(
    store: EmbeddedStore, vectorizer: Vectorizer, *documents: Document, tokens: int | None = 20
) -> IndexReport:
    if tokens is None:
        return index_documents(documents, vectorizer, store, window=4)
    splitter = DocumentSplitter(vectorizer, tokens)
    return index_documents(
        splitter.split(documents), vectorizer, store, window=4, part_counts=splitter.take_counts
    )


def test_parts_end_with_sentences_and_keep_the_fields(vectorizer: Vectorizer) -> None:
    splitter = DocumentSplitter(vectorizer, 20)
    short, rejected = Document("s", "the cat"), Rejected("line 2", "broken", "Fix it.")
    long = Document("l", SENTENCES * 3, {"lang": "en"})
    first, second, *parts = splitter.split([short, rejected, long])
    assert (first, second) == (short, rejected)
    assert len(parts) > 2
    for number, part in enumerate(parts, start=1):
        assert isinstance(part, Document)
        assert part.id == part_id("l", number)
        assert part.metadata == {"lang": "en", PART_OF: "l", PART: number}
        assert part.text.endswith(".")
    assert not any(
        embedding.truncated for embedding in vectorizer.embed_documents([p.text for p in parts])
    )  # type: ignore[union-attr]
    assert splitter.take_counts() == {"s": 1, "l": len(parts)}
    assert splitter.take_counts() == {}
    assert splitter.notes == [
        f"1 of 2 documents were split into {len(parts)} parts, which are counted as documents."
    ]


@pytest.mark.parametrize(
    "text",
    ["猫はマットの上に座っています。犬は公園を走っています。とても良い天気です。"],
)
def test_sentences_end_in_every_script(vectorizer: Vectorizer, text: str) -> None:
    limit = vectorizer.maximum_content_tokens("document")
    parts = list(DocumentSplitter(vectorizer, limit).split([Document("a", text * 8)]))
    assert len(parts) > 1
    joined = "".join(part.text for part in parts if isinstance(part, Document))
    assert set(text) <= set(joined)


def test_a_shorter_version_leaves_no_parts(store: EmbeddedStore, vectorizer: Vectorizer) -> None:
    long, other = Document("a", SENTENCES * 20), Document("b", "the dog")
    index(store, vectorizer, long, other)
    many = store.count()
    assert many > 10
    assert index(store, vectorizer, long, other).added == 0
    assert store.count() == many
    index(store, vectorizer, Document("a", SENTENCES * 2), other)
    few = store.count()
    assert 3 <= few < 8
    # Only the end is gone, so no part is written.
    index(store, vectorizer, Document("a", SENTENCES * 20), other)
    assert index(store, vectorizer, Document("a", (SENTENCES * 2).strip()), other).added <= 2
    assert store.count() == few
    index(store, vectorizer, Document("a", SENTENCES * 2), other, tokens=None)
    assert sorted(store.document_ids()) == ["a", "b"]
    assert PART_OF not in store.search(vectorizer.embed_query("x").vector, 2)[0].metadata


def test_a_document_is_found_once(store: EmbeddedStore, vectorizer: Vectorizer) -> None:
    index(store, vectorizer, Document("a", SENTENCES * 20), Document("b", "the dog"))
    vector = vectorizer.embed_query("the cat").vector
    hits = search_documents(lambda depth: store.search(vector, depth), 2)
    assert sorted(hit.id for hit in hits) == ["a", "b"]


def test_sync_knows_parts(store: EmbeddedStore, vectorizer: Vectorizer) -> None:
    documents = [Document("a", SENTENCES * 20), Document("b", SENTENCES * 10)]
    index(store, vectorizer, *documents)
    sync, splitter = SourceSync(), DocumentSplitter(vectorizer, 20)
    assert list(sync.watch(splitter.split(documents)))
    assert sync.find_orphans(store) == 0
    sync, splitter = SourceSync(), DocumentSplitter(vectorizer, 20)
    assert list(sync.watch(splitter.split(documents[:1])))
    sync.find_orphans(store)
    assert sync.delete_orphans(store) > 5
    assert {each.partition("#")[0] for each in store.document_ids()} == {"a"}


def test_what_can_not_be_split(vectorizer: Vectorizer, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = vectorizer.maximum_content_tokens("document")
    for tokens in (1, limit + 1):
        with pytest.raises(InvalidInputError, match=f"--split is {tokens} tokens") as caught:
            DocumentSplitter(vectorizer, tokens)
    assert caught.value.next_step == f"Use 16 to {limit}."
    monkeypatch.setitem(sys.modules, "semantic_text_splitter", None)
    with pytest.raises(MissingExtraError, match="semantic-text-splitter"):
        DocumentSplitter(vectorizer, 20)
