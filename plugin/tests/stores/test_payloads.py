from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from plugin.tests.store_contract import (
    COSINES,
    DIMENSION,
    FINGERPRINT,
    LIBRARY,
    QUESTION,
    SearchContract,
    StoreContract,
    near,
    unit,
)

from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import InvalidInputError, MissingExtraError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.stores.payloads import check_document, content_sha256
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestEmbeddedStore(StoreContract, SearchContract):
    @pytest.fixture
    def library(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        with EmbeddedStore.create(
            tmp_path / "library",
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
            model="tiny",
            keywords=KeywordOptions(),
        ) as store:
            store.upsert(LIBRARY, near(*COSINES))
            yield store

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        store = EmbeddedStore.create(
            tmp_path / "index", fingerprint=FINGERPRINT, dimension=DIMENSION, model="tiny"
        )
        yield store
        store.close()

    def test_true_and_false_are_no_groups(self, library: EmbeddedStore) -> None:
        assert library.search(QUESTION, 10, SearchOptions(group_by="open")) == [], "as on a server"

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
    assert content_sha256(Document("a", "x", {"k": "1"})) != content_sha256(
        Document("a", "x", {"k": 1})
    )


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(MissingExtraError) as caught:
        EmbeddedStore.create(tmp_path / "i", fingerprint=FINGERPRINT, dimension=4, model="m")
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step
    assert not (tmp_path / "i").exists()
