from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from plugin.tests.embedded_index import create
from plugin.tests.store_contract import unit

from lusifer.stores.parts import (
    PART,
    PART_OF,
    delete_documents,
    delete_further_parts,
    part_id,
    search_documents,
)
from lusifer.types import Document, Hit

pytest.importorskip("qdrant_edge")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.embedded.store import EmbeddedStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with create(tmp_path / "index") as opened:
        ids = [part_id("a", n) for n in range(1, 41)] + [part_id("b", n) for n in range(1, 4)]
        opened.upsert([Document(id_, "text") for id_ in [*ids, "c", "a#2"]], unit(len(ids) + 2))
        yield opened


def test_ids_of_parts() -> None:
    assert part_id("a", 1) == "a"
    assert len({part_id(document, n) for document in ("a", "b", "a#2") for n in range(1, 9)}) == 24
    assert part_id("a", 2).startswith("a#2-")


def test_parts_of_a_longer_version_are_deleted(store: EmbeddedStore) -> None:
    assert delete_further_parts(store, {"a": 3, "b": 3, "c": 1}) == 37
    assert store.count() == 3 + 3 + 2
    assert delete_further_parts(store, {"a": 3, "b": 3, "c": 1}) == 0
    assert delete_further_parts(store, {}) == 0
    assert store.delete(["a#2"]) == 1, "a document whose id looks like a part's stays"


def test_documents_are_deleted_with_their_parts(store: EmbeddedStore) -> None:
    assert delete_documents(store, ["a", "c", "absent"]) == 2
    assert sorted(store.document_ids()) == sorted(["a#2", *(part_id("b", n) for n in (1, 2, 3))])


def test_a_search_returns_each_document_once() -> None:
    whole = Hit("w", 0.5, "whole", {"lang": "en"})
    parts = [
        Hit(part_id("a", n), 1 - n / 100, f"part {n}", {PART_OF: "a", PART: n})
        for n in range(1, 30)
    ]
    depths = []

    def search(depth: int) -> list[Hit]:
        depths.append(depth)
        return [*parts, whole][:depth]

    assert search_documents(search, 2) == [
        replace(parts[0], id="a", metadata={PART: 1}),
        whole,
    ]
    assert depths == [2, 8, 32]
    assert search_documents(lambda depth: [whole][:depth], 5) == [whole]
