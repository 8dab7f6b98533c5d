"""The doctor on an index folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.cli.commands import run, run_json
from plugin.tests.hub_documents import hub_documents

from lusifer.embedded.doctor import examine
from lusifer.embedded.store import EmbeddedStore
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("hub", "severity"), [(False, "ok"), (True, "warning")])
def test_hubs_of_an_index(tmp_path: Path, hub: bool, severity: str) -> None:
    documents, vectors = hub_documents(hub=hub)
    with EmbeddedStore.create(tmp_path / "i", fingerprint="f", model="m", dimension=64) as store:
        store.upsert(documents, vectors)
        stored, hubs = examine(store)
        assert stored.message == "300 documents, all with a vector"
        assert hubs.severity == severity
        assert ("Document hub (" in hubs.message) == hub


def test_the_command_finds_a_document_without_vector(tmp_path: Path, tiny_bundle: Path) -> None:
    with (
        Vectorizer.load(tiny_bundle) as vectorizer,
        EmbeddedStore.create(
            tmp_path / "i",
            fingerprint=vectorizer.fingerprint,
            model=vectorizer.model_name,
            dimension=vectorizer.dimension,
        ) as store,
    ):
        store.upsert([Document("a", "one")], vectorizer.embed_documents(["one"]).vectors)
    command = ("doctor", "index", "--index", tmp_path / "i", "--bundle", tiny_bundle)
    assert run(*command)[:2] == (0, "ok       vectors: 1 documents, all with a vector\n")
    with EmbeddedStore.open(tmp_path / "i") as store:
        store.insert_without_vector([Document("b", "two")])
    code, (found,) = run_json(*command)
    assert (code, found["severity"]) == (1, "error")
    assert found["message"].startswith("1 of 2 documents lack a vector")
