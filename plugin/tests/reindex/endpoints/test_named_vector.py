from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer.reindex.endpoints.base import Record
from lusifer.reindex.endpoints.named_vector import NamedVectorCutover, NamedVectorTarget
from lusifer.stores.metadata import CollectionMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.reindex.endpoints.base import Vector

OLD = CollectionMetadata(collection="a", fingerprint="f1", model="old", dimension=2)
NEW = OLD.model_copy(update={"fingerprint": "f2", "vector_name": "second"})


class Cutover(NamedVectorCutover[CollectionMetadata]):
    """Metadata in memory."""

    shown = OLD

    def prepare(self) -> bool:
        """Do nothing."""
        return False

    def _read_metadata(self) -> CollectionMetadata:
        return self.shown

    def _write_metadata(self, metadata: CollectionMetadata) -> None:
        self.shown = metadata

    def _delete_vector(self, vector_name: str) -> str:
        return f"the vector {vector_name}"


class Target(NamedVectorTarget[None]):
    """Remembers what is written; the record ``b`` changed meanwhile."""

    def __init__(self) -> None:
        self.chunks: list[list[str]] = []

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "sha")

    def _write_vectors(self, rows: Sequence[tuple[Record[None], Vector]]) -> set[str]:
        self.chunks.append([record.key for record, _ in rows])
        return {record.key for record, _ in rows} - {"b"}


def record(key: str) -> Record[None]:
    return Record(key, "sha", "text", "en", "", None)


def test_the_metadata_names_the_vector_in_use() -> None:
    cutover = Cutover(source=OLD, target=NEW)
    assert not cutover.is_live()
    cutover.activate()
    assert cutover.is_live()
    assert cutover.shown == NEW
    cutover.deactivate()
    assert cutover.shown == OLD
    assert (cutover.remove_source(), cutover.remove_target()) == (
        "the vector lusifer",
        "the vector second",
    )


def test_texts_without_vector_are_left_out_and_unchanged_documents_count() -> None:
    target = Target()
    vector = np.zeros(2, dtype=np.float32)
    rows = [(record("a"), vector), (record("b"), vector), (record("c"), None)]
    assert target.write(rows, {}) == {"a": "sha"}
    assert target.chunks == [["a", "b"]]
    assert target.write([(record("c"), None)], {}) == {}
    assert target.versions(["a"]) == {"a": "sha"}


def test_at_most_32_documents_are_written_at_a_time() -> None:
    target = Target()
    vector = np.zeros(2, dtype=np.float32)
    assert len(target.write([(record(f"d{number}"), vector) for number in range(70)], {})) == 70
    assert [len(chunk) for chunk in target.chunks] == [32, 32, 6]
