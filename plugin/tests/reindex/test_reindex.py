from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from plugin.tests.reindex.support import DIMENSION, OLD, make_plan
from plugin.tests.reindex_world import Machine, World

pytest.importorskip("qdrant_edge")
from lusifer.embedded.collections import EmbeddedCollections
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.embedded.alias import EmbeddedAliasCutover
from lusifer.reindex.endpoints.embedded.collection import EmbeddedEndpoint
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class EmbeddedWorld:
    in_place = False
    freezes_writes = True

    def __init__(self, folder: Path) -> None:
        self.collections = EmbeddedCollections(folder / "database")
        self.collections.create(
            "v1", fingerprint=OLD.fingerprint, dimension=DIMENSION, model="old"
        ).close()
        self.collections.set_alias("live", "v1")

    def migration(self) -> Migration:
        switch = EmbeddedAliasCutover(
            self.collections, alias="live", source="v1", target="v2", model=make_plan().model,
            keywords=None,
        )  # fmt: skip
        old = EmbeddedEndpoint(self.collections, "v1")
        return Migration(
            old, EmbeddedEndpoint(self.collections, "v2"), switch, write_freeze=old.frozen
        )

    def write(self, document: Document, vector: NDArray[np.float32]) -> None:
        with self.collections.open("live") as store:
            store.upsert([document], vector[None])

    def delete(self, document_id: str) -> None:
        with self.collections.open("live") as store:
            store.delete([document_id])

    def everything(self, vector_of: str) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        with self.collections.open("live") as store:
            payloads, _ = store.read(None, 1000)
            vectors = store.retrieve(list(payloads), fields=False, vectors=True)
        return {
            payload["id"]: (
                Document(payload["id"], payload["text"], payload["metadata"]),
                vectors[key][1],
            )
            for key, payload in payloads.items()
        }

    def close(self) -> None:
        pass


class EmbeddedMachine(Machine):
    @staticmethod
    def make_world(folder: Path) -> World:
        return EmbeddedWorld(folder)


TestEmbeddedMachine = EmbeddedMachine.TestCase
TestEmbeddedMachine.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, derandomize=True
)
