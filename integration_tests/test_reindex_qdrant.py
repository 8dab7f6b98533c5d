"""Re-embedding on Qdrant while applications write: another collection behind an alias, and in place."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from integration_tests.qdrant_server import QdrantUnderTest, qdrant_under_test  # noqa: F401
from numpy.typing import NDArray
from plugin.tests.reindex_world import NEW, OLD, Machine
from qdrant_client import QdrantClient, models

from lusifer.qdrant.connection import connect
from lusifer.qdrant.points import payload_of, point_id
from lusifer.qdrant.schema import card_of, create_collection
from lusifer.reindex.qdrant import QdrantSide
from lusifer.reindex.qdrant_switch import QdrantAlias, QdrantVector
from lusifer.reindex.sides import Migration
from lusifer.store import Document


class AliasWorld:
    """Two collections and an alias."""

    in_place = False
    fenced = False

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        self.base = f"test-{uuid.uuid4().hex[:12]}"
        self.alias = self.base
        self.old = card_of(f"{self.base}-v1", OLD)
        self.new = card_of(f"{self.base}-v2", NEW)
        create_collection(client, self.old)
        action = models.CreateAlias(collection_name=self.old.collection, alias_name=self.alias)
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=action)])

    def migration(self) -> Migration:
        old, new = (
            QdrantSide(self.client, each.collection, each.vector_name) for each in (self.old, self.new)
        )
        switch = QdrantAlias(
            self.client, alias=self.alias, old=self.old.collection, card=self.new,
            like=self.old.collection, old_vector="lusifer",
        )  # fmt: skip
        return Migration(old, new, switch)

    def write(self, document: Document, vector: NDArray[np.float32]) -> None:
        point = models.PointStruct(
            id=point_id(document.id), vector={"lusifer": vector.tolist()}, payload=payload_of(document)
        )
        self.client.upsert(self.alias, [point], wait=True)

    def delete(self, document_id: str) -> None:
        self.client.delete(self.alias, [point_id(document_id)], wait=True)

    def everything(self, vector_of: str) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        return _documents(self.client, self.alias, "lusifer")

    def close(self) -> None:
        for card in (self.old, self.new):
            self.client.delete_collection(card.collection)


class VectorWorld:
    """One collection, two vectors."""

    in_place = True
    fenced = False

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        self.old = card_of(f"test-{uuid.uuid4().hex[:12]}", OLD)
        self.new = card_of(self.old.collection, NEW).model_copy(update={"vector_name": "lusifer2"})
        create_collection(client, self.old)

    def migration(self) -> Migration:
        name = self.old.collection
        old = QdrantSide(self.client, name, "lusifer", lacking="lusifer2")
        new = QdrantSide(self.client, name, "lusifer2", in_place=True)
        return Migration(old, new, QdrantVector(self.client, old=self.old, new=self.new), in_place=True)

    def write(self, document: Document, vector: NDArray[np.float32]) -> None:
        shown = self.migration().switch.shows_new()
        point = models.PointStruct(
            id=point_id(document.id),
            vector={"lusifer2" if shown else "lusifer": vector.tolist()},
            payload=payload_of(document),
        )
        self.client.upsert(self.old.collection, [point], wait=True)

    def delete(self, document_id: str) -> None:
        self.client.delete(self.old.collection, [point_id(document_id)], wait=True)

    def everything(self, vector_of: str) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        return _documents(self.client, self.old.collection, "lusifer2" if vector_of == "new" else "lusifer")

    def close(self) -> None:
        self.client.delete_collection(self.old.collection)


def _documents(
    client: QdrantClient, collection: str, vector_name: str
) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
    points, _ = client.scroll(collection, limit=1000, with_payload=True, with_vectors=True)
    found = {}
    for point in points:
        payload, vector = point.payload or {}, (point.vector or {}).get(vector_name)
        document = Document(payload["id"], payload["text"], payload["metadata"])
        found[document.id] = (document, None if vector is None else np.asarray(vector, dtype=np.float32))
    return found


@pytest.fixture
def client(qdrant: QdrantUnderTest) -> Iterator[QdrantClient]:
    made = connect(qdrant.url)
    yield made
    made.close()


@pytest.mark.parametrize("world", [AliasWorld, VectorWorld])
def test_applications_write_all_the_while(client: QdrantClient, world: Any) -> None:
    class QdrantMachine(Machine):
        @staticmethod
        def make_world(folder: Path) -> Any:
            return world(client)

    run_state_machine_as_test(
        QdrantMachine,
        settings=settings(max_examples=8, stateful_step_count=10, deadline=None, derandomize=True),
    )
