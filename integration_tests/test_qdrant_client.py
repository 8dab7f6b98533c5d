"""``models.Document`` without inference on a server: our model in the client's registry."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_tests.qdrant_server import QdrantUnderTest, qdrant_under_test  # noqa: F401  (fixture)
from plugin.tests.conftest import make_bundle
from qdrant_client import AsyncQdrantClient, QdrantClient, models

import lusifer
from lusifer.embedding.base import Embedder
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.errors import (
    EngineOutputError,
    EngineUnavailableError,
    InvalidDimensionError,
    InvalidInputError,
    InvalidTextError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
)
from lusifer.qdrant.registry import MODEL

ROOT = Path(lusifer.__file__).parents[2]
TEXTS = ["the cat sits on the mat", "Wie packe ich ein Archiv aus?", "猫はマットの上に", "Кошка сидит"]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tiny")
    make_bundle(base / "staging", base / "bundle")
    return base / "bundle"


@pytest.fixture(scope="module")
def vectorizer(tiny: Path) -> Iterator[Vectorizer]:
    with Vectorizer.load(tiny) as loaded:
        yield loaded


@pytest.fixture
def client(vectorizer: Vectorizer) -> Iterator[QdrantClient]:
    made = QdrantClient(":memory:")
    size = vectorizer.dimension
    params = models.VectorParams(size=size, distance=models.Distance.COSINE)
    made.create_collection("docs", {"lusifer": params})
    yield made
    made.close()


def stored(client: QdrantClient) -> dict[Any, Any]:
    records, _ = client.scroll("docs", limit=100, with_vectors=True)
    return {record.id: np.float32(record.vector["lusifer"]) for record in records}


def test_documents_and_queries_keep_their_roles(
    client: QdrantClient, vectorizer: Vectorizer, tiny: Path
) -> None:
    options = {"bundle": str(tiny)}
    client.upsert(
        "docs",
        [
            models.PointStruct(
                id=n, vector={"lusifer": models.Document(text=text, model=MODEL, options=options)}
            )
            for n, text in enumerate(TEXTS)
        ],
    )
    expected = vectorizer.embed_documents(TEXTS).vectors
    for n, vector in stored(client).items():
        assert np.abs(vector - expected[n]).max() < 1e-6
    question = models.Document(text=TEXTS[1], model=MODEL, options=options)
    found = client.query_points("docs", query=question, using="lusifer", limit=4).points
    scores = expected @ vectorizer.embed_query(TEXTS[1]).vector
    assert [hit.id for hit in found] == list(np.argsort(-scores))
    assert [hit.score for hit in found] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_a_text_that_cannot_be_embedded_stores_nothing(client: QdrantClient, tiny: Path) -> None:
    options = {"bundle": str(tiny)}
    documents = [models.Document(text=text, model=MODEL, options=options) for text in ("good", " ")]
    with pytest.raises(InvalidTextError, match="no visible character"):
        client.upsert(
            "docs",
            [
                models.PointStruct(id=n, vector={"lusifer": each})
                for n, each in enumerate(documents)
            ],
        )
    assert stored(client) == {}


def test_the_async_client_too(vectorizer: Vectorizer, tiny: Path) -> None:
    async def main() -> list[Any]:
        client = AsyncQdrantClient(":memory:")
        params = models.VectorParams(size=vectorizer.dimension, distance=models.Distance.COSINE)
        await client.create_collection("docs", {"lusifer": params})
        document = models.Document(text=TEXTS[0], model=MODEL, options={"bundle": str(tiny)})
        await client.upsert("docs", [models.PointStruct(id=1, vector={"lusifer": document})])
        records, _ = await client.scroll("docs", with_vectors=True)
        await client.close()
        return [np.float32(record.vector["lusifer"]) for record in records]

    (vector,) = asyncio.run(main())
    assert np.abs(vector - vectorizer.embed_documents(TEXTS[:1]).vectors[0]).max() < 1e-6


SCRIPT = """
import sys
from qdrant_client import QdrantClient, models
import lusifer.qdrant.registry

if __name__ == "__main__":
    url, name, bundle = sys.argv[1:]
    client = QdrantClient(url=url, timeout=60, check_compatibility=False)
    points = [
        models.PointStruct(id=n, vector={"lusifer": models.Document(
            text=f"text {n}", model="lusifer/lusifer-small", options={"bundle": bundle})})
        for n in range(40)
    ]
    client.upload_points(name, points, parallel=2, batch_size=8, wait=True)
    client.close()
"""


def test_parallel_uploads_know_the_model(
    qdrant: QdrantUnderTest, vectorizer: Vectorizer, tiny: Path, tmp_path: Path
) -> None:
    """Two processes embed and two upload; each of them imports the script again."""
    script = tmp_path / "upload.py"
    script.write_text(SCRIPT)
    client, name = qdrant.client(), f"lusifer-test-{uuid.uuid4().hex[:12]}"
    params = models.VectorParams(size=vectorizer.dimension, distance=models.Distance.COSINE)
    client.create_collection(name, {"lusifer": params})
    try:
        run_python(str(script), qdrant.url, name, str(tiny), cwd=tmp_path)
        records, _ = client.scroll(name, limit=100, with_vectors=True)
        assert [record.id for record in records] == list(range(40))
        stored = np.stack([np.float32(record.vector["lusifer"]) for record in records])
        expected = vectorizer.embed_documents([f"text {n}" for n in range(40)]).vectors
        assert np.abs(stored - expected).max() < 1e-6
    finally:
        client.delete_collection(name)
        client.close()


def run_python(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugin"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_readme(real_bundle: Path, tmp_path: Path) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (code,) = (block for block in blocks if "qdrant_client" in block)
    assert len([line for line in code.splitlines() if line]) == 10
    assert "GIMP" in run_python("-c", code, cwd=tmp_path, LUSIFER_BUNDLE=str(real_bundle))


ZEROS = "AAAA" * 21 + "AA=="
"""Sixteen zeros."""


class TestRemoteVectorizer:
    """A service by URL stands in for a bundle, with the same vectors and the same refusals."""

    @pytest.fixture
    def service(self, vectorizer: Vectorizer, start_service: Any) -> Any:
        return start_service(
            Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension))
        ).ready()

    @pytest.fixture
    def local(self, vectorizer: Vectorizer) -> Vectorizer:
        return Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension))

    def test_equal_to_the_bundle(self, service: Any, local: Vectorizer) -> None:
        with RemoteVectorizer(service.url) as remote:
            assert isinstance(remote, Embedder)
            assert isinstance(local, Embedder)
            for name in ("fingerprint", "dimension", "model_name", "role_prompts"):
                assert getattr(remote, name) == getattr(local, name)
            many = [f"text {n} " + "long " * (n % 60) for n in range(150)]
            for here, there in (
                (local.embed_documents(many), remote.embed_documents(many)),
                (local.embed_queries(TEXTS), remote.embed_queries(TEXTS)),
            ):
                assert np.abs(here.vectors - there.vectors).max() < 1e-6
                assert (sum(here.tokens), here.truncated) == (sum(there.tokens), there.truncated)
            assert len(remote.embed_documents([])) == 0

    def test_one_bad_text_does_not_lose_the_others(self, service: Any) -> None:
        with RemoteVectorizer(service.url) as remote:
            results = list(remote.stream(["good", "", "a\x00", "fine"], "document", window=3))
        assert [isinstance(each, InvalidTextError) for each in results] == [
            False,
            True,
            True,
            False,
        ]

    def test_a_text_too_long_for_the_policy(
        self, vectorizer: Vectorizer, start_service: Any
    ) -> None:
        service = start_service(
            Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension), long_text="error")
        ).ready()
        with RemoteVectorizer(service.url) as remote:
            results = list(remote.stream(["a", "word " * 500, "b"], "document"))
        assert [isinstance(each, InvalidInputError) for each in results] == [False, True, False]

    def test_a_smaller_dimension(self, service: Any, vectorizer: Vectorizer) -> None:
        with RemoteVectorizer(service.url, dimension=8) as remote:
            assert remote.dimension == 8
            assert remote.embed_query("a").vector.shape == (8,)
        with pytest.raises(InvalidDimensionError, match="Dimension 7"):
            RemoteVectorizer(service.url, dimension=7)

    def test_no_service_or_another_one(self, service: Any) -> None:
        with pytest.raises(EngineUnavailableError, match="can't be reached"):
            RemoteVectorizer("http://127.0.0.1:9", attempts=1)
        with pytest.raises(InvalidInputError, match="can't be used"):
            RemoteVectorizer("http://127.0.0.1:port")
        with pytest.raises(ServiceError, match="answered 404"):
            RemoteVectorizer(f"{service.url}/elsewhere", attempts=1)

    def test_a_missing_key(
        self, vectorizer: Vectorizer, start_service: Any, tmp_path: Path
    ) -> None:
        from lusifer.service.auth import add_key

        key = add_key(tmp_path / "keys.json", "team")
        service = start_service(
            Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension)),
            api_keys_file=tmp_path / "keys.json",
        ).ready()
        with pytest.raises(UnauthorizedError, match="refuses the key"):
            RemoteVectorizer(service.url)
        with RemoteVectorizer(service.url, api_key=key) as remote:
            assert remote.embed_query("a").vector.shape == (16,)

    def test_a_broken_engine_is_no_vector(self, vectorizer: Vectorizer, start_service: Any) -> None:
        engine = FakeEngine(vectorizer.dimension)
        service = start_service(Vectorizer(vectorizer.bundle, engine)).ready()
        engine.faults = Faults(nan_on=set(range(100)))
        with (
            RemoteVectorizer(service.url, attempts=1) as remote,
            pytest.raises(ServiceError, match="500"),
        ):
            remote.embed_query("a")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"data": []}, "lacks 'usage'"),
            ({"data": [], "usage": {"total_tokens": 1}}, "has 0 vectors for 1 texts"),
            ({"data": [{"embedding": "AAAA"}], "usage": {"total_tokens": 1}}, "lacks"),
            (
                {"data": [{"embedding": "AAAAAA=="}], "usage": {"total_tokens": 1}},
                "1 numbers, not 16",
            ),
            (
                {"data": [{"embedding": ZEROS}], "usage": {"total_tokens": 1}},
                "only zeros in 1 of 1 vectors",
            ),
        ],
    )
    def test_a_wrong_answer_is_refused(
        self, service: Any, monkeypatch: pytest.MonkeyPatch, content: Any, said: str
    ) -> None:
        with RemoteVectorizer(service.url) as remote:
            monkeypatch.setattr(remote, "_fetch", lambda *_: content)
            with pytest.raises(EngineOutputError, match=said):
                remote.embed_query("a")

    def test_an_overloaded_service_is_retried(
        self, vectorizer: Vectorizer, start_service: Any
    ) -> None:
        engine = FakeEngine(vectorizer.dimension, faults=Faults(slow_s=0.3))
        service = start_service(Vectorizer(vectorizer.bundle, engine), queue_tokens=40).ready()
        with RemoteVectorizer(service.url) as remote:

            async def storm() -> list[Any]:
                return await asyncio.gather(
                    *(asyncio.to_thread(remote.embed_query, f"question {n}") for n in range(6))
                )

            assert len(asyncio.run(storm())) == 6
        with RemoteVectorizer(service.url, attempts=1) as impatient, pytest.raises(OverloadedError):
            asyncio.run(self.flood(impatient))

    async def flood(self, remote: RemoteVectorizer) -> None:
        await asyncio.gather(
            *(asyncio.to_thread(remote.embed_query, f"text {n}") for n in range(20))
        )
