"""The service over the real model: equal vectors on all protocols, official clients, fuzzing."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from integration_tests.borrowed import Borrowed
from integration_tests.noise import assert_same_vectors

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.service.canary import canary_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.types import Role


@pytest.fixture
def texts() -> list[str]:
    """Return 200 texts in twelve languages, from two words to over the token limit."""
    sentences = canary_texts()
    made = [
        *sentences,
        *(sentence.split(" ", 3)[0] + f" {n}" for n, sentence in enumerate(sentences)),
    ]
    made += [f"{a} {b}" for a, b in zip(sentences, sentences[1:] + sentences[:1], strict=True)]
    made += [f"{n}. {sentences[n]}" for n in range(42)]
    made += [" ".join(sentences[n : n + 3]) for n in range(11)]
    made += [" ".join(sentences * n)[: 1500 * n] for n in (1, 2, 3)]
    assert len(set(made)) == 200
    return made


ASKED: dict[str, Callable[[Sequence[str], Role, str], tuple[str, Any, Callable[[Any], Any]]]] = {
    "weaviate": lambda texts, role, model: (
        "/vectors",
        {
            "text": texts[0],
            "config": {"task_type": {"query": "query", "document": "passage"}[role]},
        },
        lambda body: [body["vector"]],
    ),
    "cohere": lambda texts, role, model: (
        "/v2/embed",
        {"texts": texts, "model": model, "input_type": f"search_{role}"},
        lambda body: body["embeddings"]["float"],
    ),
    "qdrant": lambda texts, role, model: (
        "/qdrant",
        {
            "inputs": [{"data": text, "data_type": "text", "model": model} for text in texts],
            "inference": {"query": "search", "document": "update"}[role],
        },
        lambda body: body["embeddings"],
    ),
    "openai": lambda texts, role, model: (
        "/v1/embeddings",
        {"input": texts, "model": f"{model}:{role}", "encoding_format": "base64"},
        lambda body: [np.frombuffer(base64.b64decode(d["embedding"]), "<f4") for d in body["data"]],
    ),
    "tei": lambda texts, role, model: (
        "/embed",
        {"inputs": texts, "truncate": True, "prompt_name": role},
        lambda body: body,
    ),
}


def test_a_text_has_one_vector_on_every_protocol_alone_in_batches_and_under_load(
    vectorizer: Vectorizer, start_service: Any, texts: list[str], record_property: Any
) -> None:
    service = start_service(Borrowed(vectorizer), cache="off").ready()
    # Every second text is a query, on all protocols alike.
    parts: dict[Role, list[str]] = {"query": texts[::2], "document": texts[1::2]}
    expected = {
        text: vector
        for role, part in parts.items()
        for text, vector in zip(part, vectorizer.embed(part, role).vectors, strict=True)
    }
    model = vectorizer.bundle.manifest.name
    order = random.Random(0)
    requests: list[tuple[str, Role, list[str]]] = []
    for protocol, (role, part) in product(ASKED, parts.items()):
        shuffled = order.sample(part, len(part))
        # Computing 200 texts takes seconds. Each protocol gets all of them, alone or in batches.
        while shuffled:
            size = 1 if protocol == "weaviate" else order.choice([1, 2, 7, 30])
            requests.append((protocol, role, shuffled[:size]))
            shuffled = shuffled[size:]
    order.shuffle(requests)

    async def ask() -> list[tuple[list[str], NDArray[np.float32]]]:
        gate = asyncio.Semaphore(40)
        async with httpx.AsyncClient(base_url=service.url, timeout=600, trust_env=False) as http:

            async def one(
                protocol: str, role: Role, part: list[str]
            ) -> tuple[list[str], NDArray[np.float32]]:
                path, body, vectors_of = ASKED[protocol](part, role, model)
                async with gate:
                    answer = await http.post(path, json=body)
                assert answer.status_code == 200, answer.text
                return part, np.asarray(vectors_of(answer.json()), dtype=np.float32)

            return await asyncio.gather(*(one(*request) for request in requests))

    found: list[NDArray[np.float32]] = []
    wanted: list[NDArray[np.float32]] = []
    for part, vectors in asyncio.run(ask()):
        assert vectors.shape == (len(part), vectorizer.dimension)
        found += list(vectors)
        wanted += [expected[text] for text in part]
    record_property("worst_difference", float(np.abs(np.stack(found) - np.stack(wanted)).max()))
    assert_same_vectors(found, wanted, f"{len(requests)} requests:")


def test_the_canary_passes_on_the_real_model(vectorizer: Vectorizer, start_service: Any) -> None:
    service = start_service(Borrowed(vectorizer), canary=True).ready()
    query = {"text": "How do I unpack an archive?", "config": {"task_type": "query"}}
    answer = service.http.post("/vectors", json=query)
    expected = vectorizer.embed_query("How do I unpack an archive?").vector
    assert_same_vectors(answer.json()["vector"], expected)


def test_openais_client(vectorizer: Vectorizer, start_service: Any) -> None:
    openai = pytest.importorskip("openai")
    service = start_service(Borrowed(vectorizer)).ready()
    model = vectorizer.bundle.manifest.name
    texts = canary_texts()[:6]
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=60
    ) as client:
        assert [entry.id for entry in client.models.list()] == [model, f"lusifer/{model}"]
        # The client asks for base64 by itself.
        answer = client.embeddings.create(model=model, input=texts)
        found = np.float32([item.embedding for item in answer.data])
        assert_same_vectors(found, vectorizer.embed_documents(texts).vectors)
        assert answer.usage.total_tokens == sum(vectorizer.embed_documents(texts).tokens)
        for asked in (
            client.embeddings.create(
                model=f"{model}:query", input=texts[0], encoding_format="float"
            ),
            client.embeddings.create(
                model=model, input=texts[0], extra_body={"input_type": "query"}
            ),
        ):
            assert_same_vectors(asked.data[0].embedding, vectorizer.embed_query(texts[0]).vector)
        with pytest.raises(openai.NotFoundError, match="not served here"):
            client.embeddings.create(model="text-embedding-3-small", input="a")
        with pytest.raises(openai.BadRequestError, match="empty"):
            client.embeddings.create(model=model, input="")


def test_coheres_client(vectorizer: Vectorizer, start_service: Any) -> None:
    cohere = pytest.importorskip("cohere")
    service = start_service(Borrowed(vectorizer)).ready()
    texts = canary_texts()[:6]
    # The client never closes a connection pool that it opened itself, so the test opens one.
    with httpx.Client(timeout=60, trust_env=False) as http:
        client = cohere.ClientV2(api_key="none", base_url=service.url, httpx_client=http)
        for kind, expected in (
            ("search_document", vectorizer.embed_documents(texts)),
            ("search_query", vectorizer.embed_queries(texts)),
        ):
            answer = client.embed(
                texts=texts,
                model=vectorizer.bundle.manifest.name,
                input_type=kind,
                embedding_types=["float"],
            )
            assert_same_vectors(answer.embeddings.float_, expected.vectors)
            assert answer.meta.billed_units.input_tokens == sum(expected.tokens)
        with pytest.raises(cohere.errors.BadRequestError, match="empty"):
            client.embed(
                texts=[""],
                model="lusifer-small",
                input_type="search_query",
                embedding_types=["float"],
            )
        with pytest.raises(cohere.errors.NotFoundError, match="not served here"):
            client.embed(
                texts=["a"], model="embed-v4", input_type="search_query", embedding_types=["float"]
            )


def test_whatever_the_schema_allows_or_forbids_is_never_a_server_error(
    vectorizer: Vectorizer, start_service: Any, tmp_path: Path
) -> None:
    """Run schemathesis on a real uvicorn with the fake engine, negative data and NUL bytes.

    One check is off: an empty text and the name of another model fit the schema and are refused.
    """
    pytest.importorskip("schemathesis")
    fake = Vectorizer(vectorizer.bundle, FakeEngine(vectorizer.dimension))
    # The page at / is a GET on the path of Qdrant's POST, and no part of the API.
    service = start_service(fake, page=False).ready()
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
        *("--mode", "all", "--generation-allow-x00", "true", "--max-examples", "40"),
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        *("--seed", "1", "--generation-database", "none"),
        *("--no-color", "--suppress-health-check", "all"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    answer = service.http.post("/vectors", json={"text": "still there"})
    assert answer.status_code == 200
