from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.embedded_index import create, documents
from plugin.tests.store_contract import (
    COSINES,
    FINGERPRINT,
    LIBRARY,
    QUESTION,
    SearchContract,
    StoreContract,
    near,
    unit,
)

import lusifer
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import StoreError
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document, SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lusifer.__file__).parents[1])}


class TestEmbeddedStore(StoreContract, SearchContract):
    @pytest.fixture
    def library(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        with create(tmp_path / "library", keywords=KeywordOptions()) as store:
            store.upsert(LIBRARY, near(*COSINES))
            yield store

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[EmbeddedStore]:
        store = create(tmp_path / "index")
        yield store
        store.close()

    def test_true_and_false_are_no_groups(self, library: EmbeddedStore) -> None:
        assert library.search(QUESTION, 10, SearchOptions(group_by="open")) == [], "as on a server"

    def test_an_operation_may_be_larger_than_the_log(self, store: EmbeddedStore) -> None:
        large = [Document(str(i), f"{i} " + "x" * 9_000_000) for i in range(5)]
        store.upsert(large, unit(5))
        assert store.unchanged(large) == set("01234")


def test_reopening_finds_everything(filled: Path) -> None:
    with EmbeddedStore.open(filled, FINGERPRINT) as store:
        assert store.count() == 300
        assert store.unchanged(documents(301)) == {str(i) for i in range(300)}
        assert store.search(unit(300)[3], 1)[0].id == "3"
        assert store.index.model == "tiny"


def test_acknowledged_documents_survive_kill_9(tmp_path: Path) -> None:
    code = """
import sys, numpy as np, lusifer
store = lusifer.EmbeddedStore.create(sys.argv[1], fingerprint="f", dimension=16, model="m")
for batch in range(10_000):
    documents = [lusifer.Document(f"{batch}/{i}", "text " * 50) for i in range(20)]
    store.upsert(documents, np.eye(20, 16, -1, dtype="f4") + 1)
    print(batch, flush=True)
"""
    path = tmp_path / "index"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 30:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with EmbeddedStore.open(path, "f") as store:
        expected = [
            Document(f"{batch}/{i}", "text " * 50)
            for batch in range(acknowledged + 1)
            for i in range(20)
        ]
        assert store.unchanged(expected) == {document.id for document in expected}
        assert store.count() - len(expected) in (0, 20), (
            "at most the batch in flight is there too, and whole"
        )


def test_points_are_read_in_the_order_of_their_ids(filled: Path) -> None:
    with EmbeddedStore.open(filled) as store:
        seen: dict[str, object] = {}
        offset = None
        while True:
            found, offset = store.read(offset, 100, fields=["id"])
            seen.update(found)
            if offset is None:
                break
        assert list(seen) == sorted(seen)
        assert sorted(int(payload["id"]) for payload in seen.values()) == list(range(300))  # type: ignore[index]
        assert store.read(None, 300)[1] is None


def test_points_are_retrieved_with_their_vectors(filled: Path) -> None:
    with EmbeddedStore.open(filled) as store:
        store.insert_without_vector([Document("bare", "no vector")])
        assert (store.count(), store.count_without_vector()) == (301, 1)
        key, bare = (document_uuid(name) for name in ("3", "bare"))
        found = store.retrieve([key, bare, document_uuid("nowhere")], vectors=True)
        assert set(found) == {key, bare}
        payload, vector = found[key]
        assert payload["text"] == "text 3"
        assert np.abs(vector - unit(300)[3]).max() < 1e-6  # type: ignore[operator]
        assert found[bare][1] is None
        assert store.retrieve([key], fields=False)[key] == ({}, None)


def test_deletion_counts_what_existed(filled: Path) -> None:
    with EmbeddedStore.open(filled) as store:
        assert store.delete(["1", "2", "nowhere"]) == 2
        assert store.delete(["1"]) == 0
        assert store.count() == 298
    # Its last flush saw 298 documents, so that this is no damage.
    with EmbeddedStore.open(filled) as store:
        assert store.unchanged(documents(4)) == {"0", "3"}


def test_a_closed_store_refuses_everything(filled: Path) -> None:
    store = EmbeddedStore.open(filled)
    store.close()
    calls = [
        store.count,
        store.flush,
        store.optimize,
        lambda: store.search(QUESTION, 1),
        lambda: store.read(None, 1),
        lambda: store.retrieve(["x"]),
        lambda: store.upsert(documents(1), unit(1)),
        lambda: store.delete(["1"]),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"is closed\. Open it again\.$"):
            call()
