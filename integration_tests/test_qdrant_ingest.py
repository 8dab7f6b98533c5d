"""Bulk ingest into a server and a folder, with kills and bursts of errors."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import qdrant_edge
from integration_tests.qdrant_server import QdrantUnderTest, qdrant_under_test  # noqa: F401  (fixture)
from numpy.typing import NDArray
from plugin.tests.conftest import make_bundle

import lusifer
from lusifer.embedded.store import EmbeddedStore
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.ingest.indexer import index_documents
from lusifer.qdrant.connection import connect
from lusifer.qdrant.metadata import metadata_for
from lusifer.qdrant.points import payload_of
from lusifer.qdrant.schema import create_collection
from lusifer.qdrant.store import QdrantStore
from lusifer.stores.base import Store
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document

COUNT = 600
REPLACED = 60
SEED = 7
KILLS = 10


@pytest.fixture(scope="module")
def vectorizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vectorizer]:
    """Return the tiny model on ONNX Runtime, so that another process computes the same vectors."""
    base = tmp_path_factory.mktemp("tiny")
    make_bundle(base / "staging", base / "bundle")
    with Vectorizer.load(base / "bundle") as loaded:
        yield loaded


class Expected:
    """Model of the state: what each point may hold during an ingest, and must hold at its end."""

    def __init__(self, old: list[Document], new: list[Document], vectorizer: Vectorizer) -> None:
        self.old, self.new = (
            {document_uuid(each.id): each for each in side} for side in (old, new)
        )
        texts = list({each.text for each in [*old, *new]})
        self.vectors = dict(zip(texts, vectorizer.embed_documents(texts).vectors, strict=True))

    def check(self, points: list[tuple[str, Any, NDArray[np.float32]]]) -> int:
        """Check that every point is whole, old or new, and stored once; return how many are new."""
        assert len({point for point, _, _ in points}) == len(points)
        done = 0
        for point, payload, vector in points:
            allowed = [side[point] for side in (self.old, self.new) if point in side]
            (document,) = (each for each in allowed if payload_of(each) == payload)
            assert np.abs(vector - self.vectors[document.text]).max() < 1e-5, (
                "the vector is that of this text"
            )
            done += document is self.new.get(point)
        assert self.old.keys() <= {point for point, _, _ in points}, "no earlier point is lost"
        return done


class Place(Protocol):
    """Target of an ingest."""

    arguments: list[str]

    def open(self) -> Store: ...

    def points(self) -> list[tuple[str, Any, NDArray[np.float32]]]:
        """Return id, payload and vector of all points."""
        ...


class Server:
    def __init__(self, url: str, vectorizer: Vectorizer) -> None:
        self.url, self.name, self.vectorizer = (
            url,
            f"lusifer-test-{uuid.uuid4().hex[:12]}",
            vectorizer,
        )
        self.client = connect(url)
        create_collection(self.client, metadata_for(self.name, vectorizer))
        self.arguments = ["--qdrant", url, "--collection", self.name]

    def open(self) -> QdrantStore:
        options = {"fingerprint": self.vectorizer.fingerprint, "model": self.vectorizer.model_name}
        return QdrantStore.open(connect(self.url), self.name, **options)

    def points(self) -> list[tuple[str, Any, NDArray[np.float32]]]:
        found, _ = self.client.scroll(self.name, limit=10 * COUNT, with_vectors=True)
        return [(each.id, each.payload, np.float32(each.vector["lusifer"])) for each in found]

    def close(self) -> None:
        self.client.delete_collection(self.name)
        self.client.close()


class Folder:
    def __init__(self, path: Path, vectorizer: Vectorizer) -> None:
        self.path, self.vectorizer = path, vectorizer
        self.arguments = ["--index", str(path)]

    def open(self) -> EmbeddedStore:
        return EmbeddedStore.open_or_create(
            self.path,
            fingerprint=self.vectorizer.fingerprint,
            dimension=self.vectorizer.dimension,
            model=self.vectorizer.model_name,
        )

    def points(self) -> list[tuple[str, Any, NDArray[np.float32]]]:
        shard = qdrant_edge.EdgeShard.load(str(self.path / "shard"))
        try:
            request = qdrant_edge.ScrollRequest(
                limit=10 * COUNT, with_payload=True, with_vector=True
            )
            found, _ = shard.scroll(request)
            return [
                (str(each.id), each.payload, np.float32(each.vector["lusifer"])) for each in found
            ]
        finally:
            shard.close()


def documents(count: int, version: str = "new") -> list[Document]:
    return [
        Document(f"d{n}", f"{version} text {n} " + "word " * (n % 7), {"n": n})
        for n in range(count)
    ]


def command(place: Place, source: Path, vectorizer: Vectorizer) -> list[str]:
    program = [
        sys.executable,
        "-c",
        "from lusifer.cli.app import main; main()",
        "-v",
        "index",
        str(source),
    ]
    return [
        *program,
        *place.arguments,
        "--bundle",
        str(vectorizer.bundle.path),
        "--json",
        "--window",
        "8",
    ]


def kill_when_stored(run: subprocess.Popen[str], stored: int, delay_s: float) -> None:
    """Kill the command a little after it reports at least this number of documents."""
    assert run.stderr is not None
    for line in run.stderr:
        if "Stored so far: " in line:
            added, unchanged, _ = (
                int(part.split()[0]) for part in line.split("far: ")[1].split(", ")
            )
            if added + unchanged >= stored:
                break
    time.sleep(delay_s)
    run.send_signal(signal.SIGKILL)


def test_an_ingest_into_a_server_killed_at_ten_points_resumes_to_exactly_every_document(
    qdrant: QdrantUnderTest, vectorizer: Vectorizer, tmp_path: Path
) -> None:
    server = Server(qdrant.url, vectorizer)
    try:
        kill_and_resume(server, vectorizer, tmp_path)
    finally:
        server.close()


def test_an_ingest_into_a_folder_killed_at_ten_points_resumes_to_exactly_every_document(
    vectorizer: Vectorizer, tmp_path: Path
) -> None:
    kill_and_resume(Folder(tmp_path / "index", vectorizer), vectorizer, tmp_path)


def kill_and_resume(place: Place, vectorizer: Vectorizer, tmp_path: Path) -> None:
    """Kill the real command at ten seeded moments of its progress, then run it to its end."""
    old, new = documents(REPLACED, "old"), documents(COUNT)
    source = tmp_path / "documents.jsonl"
    source.write_text(
        "".join(
            json.dumps({"id": each.id, "text": each.text, **each.metadata}) + "\n" for each in new
        )
    )
    expected = Expected(old, new, vectorizer)
    with place.open() as store:
        index_documents(old, vectorizer, store)
    environment = {**os.environ, "PYTHONPATH": str(Path(lusifer.__file__).parents[1])}
    rng = random.Random(SEED)
    done = expected.check(place.points())
    assert done == 0
    for target in sorted(rng.sample(range(16, COUNT - 64), KILLS)):
        with subprocess.Popen(
            command(place, source, vectorizer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as run:
            kill_when_stored(run, target, rng.uniform(0, 0.01))
            assert run.wait() == -signal.SIGKILL
        before, done = done, expected.check(place.points())
        assert max(before, target) <= done, "what was reported as stored is there"
    assert done < COUNT
    last = subprocess.run(
        command(place, source, vectorizer),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    report = json.loads(last.stdout)
    assert (report["added"], report["unchanged"]) == (COUNT - done, done)
    assert (report["count"], report["without_vector"], report["rejected_count"]) == (COUNT, 0, 0)
    assert (expected.check(place.points()), len(place.points())) == (COUNT, COUNT)


def test_an_ingest_survives_many_429_and_broken_connections(
    qdrant: QdrantUnderTest, vectorizer: Vectorizer
) -> None:
    if qdrant.server is None:
        pytest.skip("faults can't be injected into a real server")
    server = Server(qdrant.url, vectorizer)
    new = documents(200)
    for _ in range(3):
        qdrant.server.fail_next(
            2, status=429, headers={"retry-after": "0"}, method="PUT", error="Too many requests"
        )
        qdrant.server.fail_next(1, drop=True, after=True, method="PUT")
    try:
        with server.open() as store:
            report = index_documents(new, vectorizer, store, window=32)
            assert (report.added, store.count(), store.count_without_vector()) == (200, 200, 0)
        assert Expected([], new, vectorizer).check(server.points()) == 200
    finally:
        server.close()
