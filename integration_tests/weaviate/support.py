"""Metadata, stores and corpora of the tests of Weaviate."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.store_contract import DIMENSION, FINGERPRINT

import lusifer
from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.weaviate.metadata import CollectionMetadata
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.store import WeaviateStore

ROOT = Path(lusifer.__file__).parents[2]


def make_metadata(
    collection: str,
    *,
    fingerprint: str = FINGERPRINT,
    model: str = "tiny",
    lower_case: bool = False,
) -> CollectionMetadata:
    """Return the metadata of a collection of the tiny model."""
    return CollectionMetadata(
        collection=collection,
        fingerprint=fingerprint,
        model=model,
        dimension=DIMENSION,
        lower_case=lower_case,
    )


def open_store(client: Any, name: str, **options: Any) -> WeaviateStore:
    return WeaviateStore.open(client, name, fingerprint=FINGERPRINT, model="tiny", **options)


class Borrowed(Vectorizer):
    """A shared vectorizer, which a service must not close."""

    def __init__(self, lender: Vectorizer) -> None:
        super().__init__(lender.bundle, lender.engine)

    def close(self) -> None:
        pass


def corpus(folder: Path, count: int) -> Path:
    path = folder / "documents.jsonl"
    with path.open("w") as lines:
        for n in range(count):
            text = f"document number {n} " + "word " * (n % 7)
            lines.write(json.dumps({"id": f"d{n}", "text": text, "n": n}) + "\n")
    return path


def check_all(client: Any, name: str, count: int, embedder: Vectorizer) -> None:
    """Check that every document is there once, with its text and the vector of that text."""
    texts = {f"d{n}": f"document number {n} " + "word " * (n % 7) for n in range(count)}
    expected = dict(zip(texts, embedder.embed_documents(list(texts.values())).vectors, strict=True))
    seen = set()
    for each in client.collections.get(name).iterator(include_vector=True):
        document_id = each.properties["document_id"]
        assert document_id not in seen
        seen.add(document_id)
        assert str(each.uuid) == object_id(document_id)
        assert each.properties["text"] == texts[document_id]
        assert np.abs(np.float32(each.vector["lusifer"]) - expected[document_id]).max() < 1e-5
    assert seen == set(texts)


def command(
    server: RunningWeaviate, source: Path, name: str, bundle: Bundle, *more: str
) -> list[str]:
    return [
        *(sys.executable, "-c", "from lusifer.cli.app import main; main()", "index", str(source)),
        *("--weaviate", server.url, "--collection", name, "--bundle", str(bundle.path)),
        *("--json", "--window", "16", *more),
    ]


def environment(server: RunningWeaviate) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "plugin"),
        "WEAVIATE_GRPC_PORT": str(server.grpc_port),
    }
