"""Qdrant's server-side inference with our service: what is embedded, in which role, and failures.

The same tests run on LoopbackQdrant and, with QDRANT_URL, on a real Qdrant: see ``qdrant_server``.
"""

from __future__ import annotations

import email.utils
import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest
from integration_tests.qdrant_server import (  # noqa: F401  (fixtures)
    CHUNK_POINTS,
    LoopbackQdrant,
    QdrantUnderTest,
    inference_gate,
    qdrant_under_test,
)
from plugin.tests.conftest import make_bundle
from qdrant_client import models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.context_headers import headers as call_headers
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.service.admission import estimate_tokens
from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from integration_tests.qdrant_server import InferenceGate, Recorded
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient

    from lusifer.bundle.format import Bundle

D = 16
NAME = "lusifer"
EXACT = 1e-6
TEXTS = [
    "Bonjour le monde",
    "Hallo Welt",
    "世界よ、こんにちは",
    "Привет, мир",
    "the cat sits on the mat",
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the plugin's tiny bundle: real tokenizer and prompts; FakeEngine computes."""
    base = tmp_path_factory.mktemp("bundles")
    return make_bundle(base / "staging", base / "tiny")


@pytest.fixture(scope="module")
def client(qdrant: QdrantUnderTest) -> Iterator[QdrantClient]:
    opened = qdrant.client()
    yield opened
    opened.close()


@dataclass
class World:
    """Qdrant with a collection, the gate at its inference address, and what the service behind computes."""

    qdrant: QdrantUnderTest
    client: QdrantClient
    gate: InferenceGate
    name: str
    unnamed: str
    vectorizer: Vectorizer

    @property
    def model(self) -> str:
        return self.vectorizer.bundle.manifest.name

    def document(self, text: str, **options: Any) -> models.Document:
        return models.Document(text=text, model=self.model, **options)

    def documents(self, texts: list[str]) -> NDArray[np.float32]:
        """Return vectors with the prompt of documents, ``(N, D)``."""
        return self.vectorizer.embed_documents(texts).vectors

    def query(self, text: str) -> list[float]:
        """Return the vector with the prompt of queries, ``(D,)``."""
        return self.vectorizer.embed_queries([text]).vectors[0].tolist()

    def stored(self, document_uuid: int, vector: str | None = NAME) -> Any:
        (record,) = self.client.retrieve(
            self.name if vector else self.unnamed, [document_uuid], with_vectors=True
        )
        return np.float32(record.vector[vector] if vector else record.vector)

    def count(self) -> int:
        return sum(self.client.count(name).count for name in (self.name, self.unnamed))

    def fill(self, texts: list[str] = TEXTS) -> None:
        """Write points 0, 1, … with vectors of our own, so without inference."""
        points = [
            models.PointStruct(id=n, vector={NAME: vector.tolist()}, payload={"group": n % 2})
            for n, vector in enumerate(self.documents(texts))
        ]
        self.client.upsert(self.name, points)

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        return httpx.request(
            options.pop("method", "POST"),
            f"{self.qdrant.url}/collections/{self.name}{path}",
            json=body,
            trust_env=False,
            timeout=30,
            **options,
        )


@pytest.fixture
def world(
    qdrant: QdrantUnderTest, client: QdrantClient, gate: InferenceGate, bundle: Bundle
) -> Iterator[World]:
    """Yield new collections, with no service behind the gate yet."""
    gate.reset()
    name = f"lusifer-test-{uuid.uuid4().hex[:12]}"
    params = models.VectorParams(size=D, distance=models.Distance.COSINE)
    client.create_collection(
        name,
        vectors_config={NAME: params, "title": params},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.create_collection(f"{name}-unnamed", vectors_config=params)
    yield World(qdrant, client, gate, name, f"{name}-unnamed", Vectorizer(bundle, FakeEngine(D)))
    client.delete_collection(name)
    client.delete_collection(f"{name}-unnamed")


@pytest.fixture
def served(world: World, start_service: Any, bundle: Bundle) -> World:
    """Yield new collections, with our service behind the gate."""
    world.gate.forward_to = start_service(Vectorizer(bundle, FakeEngine(D))).ready().url
    return world


def loopback(world: World) -> LoopbackQdrant:
    """Return our own server, for faults that a real one can't be made to have."""
    if world.qdrant.server is None:
        pytest.skip("a real server can't be made to do this")
    return world.qdrant.server


def error_of(failed: pytest.ExceptionInfo[UnexpectedResponse]) -> tuple[int, str]:
    return failed.value.status_code or 0, json.loads(failed.value.content)["status"]["error"]


def vectors_for(recorded: Recorded) -> list[list[float]]:
    """Return one vector of the right length for each input."""
    return [[float(n + 1)] * D for n, _ in enumerate(recorded.json()["inputs"])]


def put_list_named(world: World, text: str) -> None:
    world.client.upsert(world.name, [models.PointStruct(id=1, vector={NAME: world.document(text)})])


def put_list_unnamed(world: World, text: str) -> None:
    world.client.upsert(world.unnamed, [models.PointStruct(id=1, vector=world.document(text))])


def put_columns(world: World, text: str) -> None:
    world.client.upsert(world.name, models.Batch(ids=[1], vectors={NAME: [world.document(text)]}))


def put_batch(world: World, text: str) -> None:
    point = models.PointStruct(id=1, vector={NAME: world.document(text)})
    operation = models.UpsertOperation(upsert=models.PointsList(points=[point]))
    world.client.batch_update_points(world.name, [operation])


def put_vectors(world: World, text: str) -> None:
    world.client.update_vectors(
        world.name, [models.PointVectors(id=1, vector={NAME: world.document(text)})]
    )


def put_batch_vectors(world: World, text: str) -> None:
    points = [models.PointVectors(id=1, vector={NAME: world.document(text)})]
    operation = models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=points))
    world.client.batch_update_points(world.name, [operation])


WRITES: list[tuple[Callable[[World, str], None], str | None]] = [
    (put_list_named, NAME),
    (put_list_unnamed, None),
    (put_columns, NAME),
    (put_batch, NAME),
    (put_vectors, NAME),
    (put_batch_vectors, NAME),
]
INSERTS = WRITES[:4]


def named(cases: list[tuple[Callable[..., Any], Any]]) -> list[str]:
    return [case[0].__name__ for case in cases]


@pytest.mark.parametrize(("write", "vector"), WRITES, ids=named(WRITES))
def test_a_document_that_is_written_is_embedded_in_one_post_as_a_document(
    served: World, write: Any, vector: str | None
) -> None:
    served.client.upsert(served.name, [models.PointStruct(id=1, vector={}, payload={"kept": True})])
    write(served, TEXTS[0])
    expected = served.documents([TEXTS[0]])[0]
    assert np.abs(served.stored(1, vector) - expected).max() < EXACT
    assert np.abs(np.float32(served.query(TEXTS[0])) - expected).max() > 0.01, (
        "the roles must differ"
    )
    (request,) = served.gate.requests
    assert (request.method, request.path) == ("POST", served.gate.path)
    assert request.json() == {
        "inputs": [{"data": TEXTS[0], "data_type": "text", "model": served.model, "options": None}],
        "inference": "update",
        "token": None,
    }


def test_all_documents_of_an_upsert_go_out_in_one_post_each_once(served: World) -> None:
    texts = [*TEXTS, *TEXTS]
    points = [
        models.PointStruct(
            id=n, vector={NAME: served.document(text), "title": served.document(TEXTS[0])}
        )
        for n, text in enumerate(texts)
    ]
    served.client.upsert(served.name, points)
    (request,) = served.gate.requests
    assert sorted(each["data"] for each in request.json()["inputs"]) == sorted(TEXTS)
    expected = served.documents(texts)
    for n in range(len(texts)):
        assert np.abs(served.stored(n) - expected[n]).max() < EXACT, (
            "vectors are matched by position"
        )
        assert np.abs(served.stored(n, "title") - expected[0]).max() < EXACT


def test_vectors_do_not_depend_on_the_order_of_inputs(served: World) -> None:
    texts = [f"text number {n}" for n in range(20)]
    orders = set()
    for _ in range(3):
        points = [
            models.PointStruct(id=n, vector={NAME: served.document(t)}) for n, t in enumerate(texts)
        ]
        served.client.upsert(served.name, points)
        orders.add(tuple(each["data"] for each in served.gate.requests[-1].json()["inputs"]))
    assert len(orders) > 1
    assert (
        np.abs(np.stack([served.stored(n) for n in range(20)]) - served.documents(texts)).max()
        < EXACT
    )


def test_columns_are_one_post_for_each_vector_name(served: World) -> None:
    columns = {
        NAME: [served.document(t) for t in TEXTS],
        "title": [served.document(t) for t in TEXTS[::-1]],
    }
    served.client.upsert(served.name, models.Batch(ids=list(range(5)), vectors=columns))
    assert sorted(len(request.json()["inputs"]) for request in served.gate.requests) == [5, 5]
    expected = served.documents(TEXTS)
    for n in range(5):
        assert np.abs(served.stored(n) - expected[n]).max() < EXACT
        assert np.abs(served.stored(n, "title") - expected[4 - n]).max() < EXACT


def test_operations_of_a_batch_are_one_post_each_and_the_first_failure_stops_the_rest(
    served: World,
) -> None:
    def upsert(document_uuid: int, model: str) -> models.UpsertOperation:
        document = models.Document(text=f"text {document_uuid}", model=model)
        point = models.PointStruct(id=document_uuid, vector={NAME: document})
        return models.UpsertOperation(upsert=models.PointsList(points=[point]))

    operations = [upsert(1, served.model), upsert(2, "somebody-elses"), upsert(3, served.model)]
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.batch_update_points(served.name, operations)
    assert error_of(failed)[0] == 400
    assert [request.json()["inputs"][0]["data"] for request in served.gate.requests] == [
        "text 1",
        "text 2",
    ]
    assert [point.id for point in served.client.scroll(served.name)[0]] == [1], "not atomic"


def nearest(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    return {"query": make(TEXTS[0])}


def nearest_with_mmr(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    return {"query": models.NearestQuery(nearest=make(TEXTS[0]), mmr=models.Mmr(diversity=0.5))}


def prefetch(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    inner = models.Prefetch(query=make(TEXTS[1]), using=NAME, limit=4)
    outer = models.Prefetch(query=make(TEXTS[2]), using=NAME, limit=3, prefetch=[inner])
    return {"query": make(TEXTS[0]), "prefetch": [outer]}


def fusion(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    parts = [models.Prefetch(query=make(text), using=NAME, limit=4) for text in TEXTS[:2]]
    return {"query": models.FusionQuery(fusion=models.Fusion.RRF), "prefetch": parts, "using": None}


def recommend(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    chosen = models.RecommendInput(
        positive=[make(TEXTS[0]), make(TEXTS[1])], negative=[make(TEXTS[3])]
    )
    return {"query": models.RecommendQuery(recommend=chosen)}


def discover(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    pair = models.ContextPair(positive=make(TEXTS[1]), negative=make(TEXTS[2]))
    return {
        "query": models.DiscoverQuery(
            discover=models.DiscoverInput(target=make(TEXTS[0]), context=[pair])
        )
    }


def context(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    pair = models.ContextPair(positive=make(TEXTS[1]), negative=make(TEXTS[2]))
    return {"query": models.ContextQuery(context=[pair])}


def feedback(world: World, make: Callable[[str], Any]) -> dict[str, Any]:
    given = models.RelevanceFeedbackInput(
        target=make(TEXTS[0]),
        feedback=[
            models.FeedbackItem(example=make(TEXTS[1]), score=0.9),
            models.FeedbackItem(example=make(TEXTS[2]), score=0.1),
        ],
        strategy=models.NaiveFeedbackStrategy(
            naive=models.NaiveFeedbackStrategyParams(a=1.0, b=1.0, c=1.0)
        ),
    )
    return {"query": models.RelevanceFeedbackQuery(relevance_feedback=given)}


READS: list[tuple[Callable[[World, Callable[[str], Any]], dict[str, Any]], int]] = [
    (nearest, 1),
    (nearest_with_mmr, 1),
    (prefetch, 3),
    (fusion, 2),
    (recommend, 3),
    (discover, 3),
    (context, 2),
    (feedback, 3),
]


@pytest.mark.parametrize(("read", "texts"), READS, ids=named(READS))
def test_the_documents_of_a_query_are_embedded_in_one_post_as_queries(
    served: World, read: Any, texts: int
) -> None:
    served.fill()
    given = {"using": NAME, **read(served, served.document)}
    explicit = {"using": NAME, **read(served, served.query)}
    found = served.client.query_points(served.name, **given)
    (request,) = served.gate.requests
    assert request.json()["inference"] == "search"
    assert len(request.json()["inputs"]) == texts
    expected = served.client.query_points(served.name, **explicit)
    assert found.points and [point.id for point in found.points] == [
        point.id for point in expected.points
    ]
    assert np.allclose(
        [point.score for point in found.points],
        [point.score for point in expected.points],
        atol=1e-5,
    )
    assert len(served.gate.requests) == 1, "vectors need no inference"


def test_the_score_of_a_query_is_between_the_two_roles(served: World) -> None:
    put_list_named(served, TEXTS[0])
    (point,) = served.client.query_points(
        served.name, query=served.document(TEXTS[0]), using=NAME
    ).points
    expected = float(served.documents([TEXTS[0]])[0] @ np.float32(served.query(TEXTS[0])))
    assert point.score == pytest.approx(expected, abs=1e-5)
    assert expected < 0.999, "the same text is another vector as a query"


def test_groups_are_queried_as_queries(served: World) -> None:
    served.fill()
    options = {"using": NAME, "group_by": "group", "group_size": 2}
    found = served.client.query_points_groups(
        served.name, query=served.document(TEXTS[0]), **options
    )
    (request,) = served.gate.requests
    assert request.json()["inference"] == "search"
    expected = served.client.query_points_groups(
        served.name, query=served.query(TEXTS[0]), **options
    )
    assert [(group.id, [hit.id for hit in group.hits]) for group in found.groups] == [
        (group.id, [hit.id for hit in group.hits]) for group in expected.groups
    ]
    assert len(found.groups) == 2


def test_a_batch_of_queries_is_one_post_for_each_in_their_order(served: World) -> None:
    served.fill()
    served.client.query_batch_points(
        served.name,
        [models.QueryRequest(query=served.document(text), using=NAME, limit=1) for text in TEXTS],
    )
    assert [
        [each["data"] for each in request.json()["inputs"]] for request in served.gate.requests
    ] == [[text] for text in TEXTS]
    found = served.client.query_batch_points(
        served.name,
        [models.QueryRequest(query=served.document(text), using=NAME, limit=1) for text in TEXTS],
    )
    for text, answer in zip(TEXTS, found, strict=True):
        expected = served.client.query_points(
            served.name, query=served.query(text), using=NAME, limit=1
        )
        assert answer.points[0].id == expected.points[0].id


@pytest.mark.parametrize("options", [{}, {"dimensions": D}, {"long_text": "truncate"}])
def test_options_reach_the_service_as_they_are(served: World, options: dict[str, Any]) -> None:
    points = [models.PointStruct(id=1, vector={NAME: served.document(TEXTS[0], options=options)})]
    served.client.upsert(served.name, points)
    assert served.gate.requests[0].json()["inputs"][0]["options"] == options
    assert np.abs(served.stored(1) - served.documents([TEXTS[0]])[0]).max() < EXACT


@pytest.mark.parametrize(
    "options", ['"options":null', '"options":{}', None], ids=["rest", "grpc", "absent"]
)
def test_options_of_null_empty_and_absent_are_the_same(served: World, options: str | None) -> None:
    # Sent to the service itself as Qdrant writes them: null over REST, {} over gRPC.
    fields = ['"data":"Hallo Welt"', '"data_type":"text"', f'"model":"{served.model}"']
    body = f'{{"inputs":[{{{",".join([*fields, *([options] if options else [])])}}}],"inference":"search"}}'
    answer = httpx.post(f"{served.gate.forward_to}/qdrant", content=body, trust_env=False)
    assert (
        np.abs(np.float32(answer.json()["embeddings"][0]) - served.query("Hallo Welt")).max()
        < EXACT
    )


def test_the_dimension_of_an_option_is_the_one_that_is_stored(served: World) -> None:
    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=8, distance="Cosine"))
    served.client.create_vector_name(served.name, "short", config)
    document = served.document(TEXTS[0], options={"dimensions": 8})
    served.client.upsert(served.name, [models.PointStruct(id=1, vector={"short": document})])
    expected = served.documents([TEXTS[0]])[0][:8]
    assert np.abs(served.stored(1, "short") - expected / np.linalg.norm(expected)).max() < EXACT


@pytest.mark.parametrize("model", ["qdrant/bm25", "bm25", "Qdrant/BM25"])
def test_bm25_never_leaves_qdrant_and_mixes_with_our_model(served: World, model: str) -> None:
    edge = pytest.importorskip("qdrant_edge")
    text = "The cats are sitting on the mats"
    point = models.PointStruct(
        id=1, vector={NAME: served.document(text), "bm25": models.Document(text=text, model=model)}
    )
    served.client.upsert(served.name, [point])
    (request,) = served.gate.requests
    assert [each["model"] for each in request.json()["inputs"]] == [served.model]
    assert np.abs(served.stored(1) - served.documents([text])[0]).max() < EXACT
    (record,) = served.client.retrieve(served.name, [1], with_vectors=["bm25"])
    expected = edge.Bm25().embed_document(text)
    assert dict(
        zip(record.vector["bm25"].indices, record.vector["bm25"].values, strict=True)
    ) == pytest.approx(dict(zip(expected.indices, expected.values, strict=True)))
    query = models.Document(text="a cat", model=model)
    (found,) = served.client.query_points(served.name, query=query, using="bm25").points
    assert found.score > 0
    assert len(served.gate.requests) == 1


def test_documents_at_the_top_of_columns_are_refused(served: World) -> None:
    batch = models.Batch(ids=[1], vectors=[served.document(TEXTS[0])])
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.upsert(served.unnamed, batch)
    assert error_of(failed) == (
        400,
        "Direct Document processing is not supported in top-level batch vectors. Use named vectors.",
    )
    assert served.count() == 0 and not served.gate.requests


def test_unnamed_documents_for_update_vectors_are_refused(served: World) -> None:
    put_list_unnamed(served, TEXTS[0])
    before = served.stored(1, None)
    points = [models.PointVectors(id=1, vector=served.document(TEXTS[1]))]
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.update_vectors(served.unnamed, points)
    assert error_of(failed) == (
        400,
        "Direct Document processing not supported for PointVectors. Use named vectors.",
    )
    assert (served.stored(1, None) == before).all() and len(served.gate.requests) == 1


def test_a_sparse_result_for_an_unnamed_vector_is_refused(served: World) -> None:
    point = models.PointStruct(id=1, vector=models.Document(text="a cat", model="qdrant/bm25"))
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.upsert(served.unnamed, [point])
    status, error = error_of(failed)
    assert status == 400 and "Sparse vector from document inference should be named" in error
    assert served.count() == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (models.Image(image="https://example.com/cat.png", model="lusifer-tiny-test"), "image"),
        (models.InferenceObject(object={"a": 1}, model="lusifer-tiny-test"), "object"),
    ],
    ids=["image", "object"],
)
def test_images_and_objects_reach_the_service_which_refuses_them(
    served: World, value: Any, kind: str
) -> None:
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.upsert(served.name, [models.PointStruct(id=1, vector={NAME: value})])
    status, error = error_of(failed)
    assert status == 400
    assert (
        f"Inference request validation failed: Input 0 is of type '{kind}': this model embeds text."
        in error
    )
    sent = served.gate.requests[0].json()["inputs"][0]
    assert (sent["data_type"], sent["data"]) == (kind, getattr(value, kind))
    assert served.count() == 0


def test_tokens_are_reported_to_the_caller_of_writes_and_queries(served: World) -> None:
    points = [
        models.PointStruct(id=n, vector={NAME: served.document(t)}) for n, t in enumerate(TEXTS)
    ]
    written = served.client.http.points_api.upsert_points(
        collection_name=served.name,
        wait=True,
        point_insert_operations=models.PointsList(points=points),
    )
    expected = sum(served.vectorizer.embed_documents(TEXTS).tokens)
    assert written.usage.inference.models[served.model].tokens == expected
    columns = {NAME: [served.document(TEXTS[0])], "title": [served.document(TEXTS[1])]}
    written = served.client.http.points_api.upsert_points(
        collection_name=served.name,
        wait=True,
        point_insert_operations=models.PointsBatch(batch=models.Batch(ids=[9], vectors=columns)),
    )
    expected = sum(served.vectorizer.embed_documents(TEXTS[:2]).tokens)
    assert written.usage.inference.models[served.model].tokens == expected, "both posts count"
    found = served.client.http.search_api.query_points(
        collection_name=served.name,
        query_request=models.QueryRequest(query=served.document(TEXTS[0]), using=NAME),
    )
    expected = sum(served.vectorizer.embed_queries(TEXTS[:1]).tokens)
    assert found.usage.inference.models[served.model].tokens == expected


REFUSED = '{"error":"the text is bad"}'
ROWS: list[tuple[int, str, int, str]] = [
    (400, REFUSED, 400, "Inference request validation failed: the text is bad"),
    (400, '{"message":"other"}', 400, 'Invalid inference request: {"message":"other"}'),
    (400, "plain", 400, "Invalid inference request: plain"),
    (401, "key", 500, "Authentication failed for inference service (401 Unauthorized): key"),
    (403, "key", 500, "Authentication failed for inference service (403 Forbidden): key"),
    (404, "no", 400, "Inference can't process request (404 Not Found): no"),
    (413, "big", 400, "Inference can't process request (413 Payload Too Large): big"),
    (422, "no", 400, "Inference can't process request (422 Unprocessable Entity): no"),
    (500, "oops", 500, "Inference service error (500 Internal Server Error): oops"),
    (502, "oops", 500, "Inference service error (502 Bad Gateway): oops"),
    (503, "oops", 500, "Inference service error (503 Service Unavailable): oops"),
    (504, "oops", 500, "Inference service error (504 Gateway Timeout): oops"),
    (201, "made", 500, "Unexpected inference error (201 Created): made"),
    (300, "where", 500, "Unexpected inference error (300 Multiple Choices): where"),
    (200, "not JSON", 500, "Failed to parse successful inference response: "),
    (200, '{"embeddings":[[NaN]]}', 500, "Failed to parse successful inference response: "),
    (200, '{"embeddings":[]}', 500, "Inference service returned no vectors"),
    (429, "slow", 429, "Too many requests for inference service (429 Too Many Requests): slow"),
]


@pytest.mark.parametrize(
    ("status", "body", "becomes", "says"), ROWS, ids=[f"{row[0]}-{row[1][:12]}" for row in ROWS]
)
def test_an_answer_of_the_service_becomes_what_qdrant_documents_and_nothing_is_stored(
    world: World, status: int, body: str, becomes: int, says: str
) -> None:
    world.gate.answer(status, body.encode())
    for write, _ in INSERTS:
        with pytest.raises(UnexpectedResponse) as failed:
            write(world, TEXTS[0])
        found, error = error_of(failed)
        assert found == becomes and says in error, write.__name__
    assert world.count() == 0
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.query_points(world.name, query=world.document("a"), using=NAME)
    found, error = error_of(failed)
    assert found == becomes and says in error
    assert len(world.gate.requests) == len(INSERTS) + 1, "Qdrant never asks a second time"


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_429_with_retry_after_comes_through_with_it(world: World, as_date: bool) -> None:
    wait = email.utils.formatdate(time.time() + 7, usegmt=True) if as_date else "7"
    world.gate.answer(429, b"slow", {"retry-after": wait})
    for ask in (
        lambda: put_list_named(world, "a"),
        lambda: world.client.query_points(world.name, query=world.document("a"), using=NAME),
    ):
        with pytest.raises(
            ResourceExhaustedResponse, match="Too many requests for inference service"
        ) as caught:
            ask()
        assert 5 <= caught.value.retry_after_s <= 7
    assert world.count() == 0


def test_a_refused_connection_is_an_internal_error_and_nothing_is_stored(world: World) -> None:
    with world.gate.down(), pytest.raises(UnexpectedResponse) as failed:
        put_list_named(world, TEXTS[0])
    status, error = error_of(failed)
    assert status == 500 and "Failed to send inference request: " in error
    assert world.count() == 0


@pytest.mark.parametrize("path", ["/points", "/points/query"])
def test_the_calls_own_timeout_ends_inference(world: World, path: str) -> None:
    world.gate.answer(200, {"embeddings": [[1.0] * D]})
    world.gate.delay_s = 2
    document = {"text": "a", "model": world.model}
    points = {"points": [{"id": 1, "vector": {NAME: document}}]}
    body, method = (
        (points, "PUT") if path == "/points" else ({"query": document, "using": NAME}, "POST")
    )
    answer = world.post(path, body, method=method, params={"timeout": 1, "wait": "true"})
    # Without its own timeout the call would have waited for the answer and succeeded.
    assert answer.status_code == 500
    assert "Failed to send inference request: " in answer.json()["status"]["error"]
    assert world.count() == 0


def test_without_an_address_only_bm25_works(world: World) -> None:
    loopback(world)
    server = LoopbackQdrant(None)
    under_test = QdrantUnderTest(server.url, False, "", server)
    with_none = under_test.client()
    try:
        params = models.VectorParams(size=D, distance=models.Distance.COSINE)
        sparse = {"bm25": models.SparseVectorParams()}
        with_none.create_collection(
            "c", vectors_config={NAME: params}, sparse_vectors_config=sparse
        )
        point = models.PointStruct(
            id=1, vector={"bm25": models.Document(text="a cat", model="bm25")}
        )
        with_none.upsert("c", [point])
        with pytest.raises(UnexpectedResponse) as failed:
            with_none.upsert("c", [models.PointStruct(id=2, vector={NAME: world.document("a")})])
        status, error = error_of(failed)
        assert (
            status == 500
            and "InferenceService URL not configured - please provide valid address" in error
        )
        assert with_none.count("c").count == 1
    finally:
        with_none.close()
        server.close()


def test_one_embedding_too_few_is_refused_and_nothing_is_stored(world: World) -> None:
    world.gate.answer_with(
        lambda recorded: (200, {}, json.dumps({"embeddings": vectors_for(recorded)[:-1]}).encode())
    )
    points = [
        models.PointStruct(id=n, vector={NAME: world.document(t)}) for n, t in enumerate(TEXTS)
    ]
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.upsert(world.name, points)
    status, error = error_of(failed)
    assert status == 400 and "Missing inferred vector for document" in error
    assert world.count() == 0
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.query_points(world.name, query=world.document("a"), using=NAME)
    status, error = error_of(failed)
    assert status == 500 and "Inference service returned no vectors" in error, (
        "one vector less than one is none"
    )


def test_a_short_answer_beside_bm25_stores_nothing_and_qdrant_goes_on(world: World) -> None:
    pytest.importorskip("qdrant_edge")
    world.gate.answer(200, {"embeddings": []})
    point = models.PointStruct(
        id=1,
        vector={NAME: world.document("a"), "bm25": models.Document(text="a cat", model="bm25")},
    )
    for _ in range(4):
        # The two come in random order. Either there is a message, or Qdrant panics while it merges
        # the results, which ends the connection.
        with pytest.raises((UnexpectedResponse, ResponseHandlingException)) as failed:
            world.client.upsert(world.name, [point])
        if isinstance(failed.value, UnexpectedResponse):
            assert "Missing inferred vector for document" in str(failed.value)
    assert world.count() == 0


def test_surplus_embeddings_are_dropped_silently(world: World) -> None:
    more = [[1.0] * D]
    world.gate.answer_with(
        lambda recorded: (
            200,
            {},
            json.dumps({"embeddings": vectors_for(recorded) + more}).encode(),
        )
    )
    put_list_named(world, TEXTS[0])
    assert world.count() == 1


@pytest.mark.parametrize(("write", "vector"), INSERTS, ids=named(INSERTS))
def test_a_wrong_dimension_is_refused_before_anything_is_stored(
    world: World, write: Any, vector: str | None
) -> None:
    world.gate.answer(200, {"embeddings": [[0.5] * (D + 1)]})
    with pytest.raises(UnexpectedResponse) as failed:
        write(world, TEXTS[0])
    status, error = error_of(failed)
    assert status == 400 and f"Vector dimension error: expected dim: {D}, got {D + 1}" in error
    assert world.count() == 0


def test_a_wrong_dimension_of_one_point_stops_all_of_them(world: World) -> None:
    world.fill()
    before = [world.stored(n) for n in range(5)]

    def one_too_long(recorded: Recorded) -> tuple[int, Mapping[str, str], bytes]:
        vectors = vectors_for(recorded)
        vectors[-1].append(0.5)
        return 200, {}, json.dumps({"embeddings": vectors}).encode()

    world.gate.answer_with(one_too_long)
    points = [
        models.PointVectors(id=n, vector={NAME: world.document(f"new {n}")}) for n in range(5)
    ]
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.update_vectors(world.name, points)
    assert error_of(failed)[0] == 400
    assert all((world.stored(n) == before[n]).all() for n in range(5))


@pytest.mark.parametrize(
    ("text", "model", "options", "says"),
    [
        ("", None, None, "Inference request validation failed: "),
        ("a\x00b", None, None, "Inference request validation failed: "),
        ("a", "somebody-elses", None, "somebody-elses"),
        ("a", None, {"instruction": "x"}, "instruction"),
        ("a", None, {"dimensions": 5}, "5"),
    ],
    ids=["empty", "nul", "model", "option", "dimension"],
)
def test_refusals_of_our_service_are_passed_on_unchanged(
    served: World, text: str, model: str | None, options: dict[str, Any] | None, says: str
) -> None:
    document = models.Document(text=text, model=model or served.model, options=options)
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.upsert(served.name, [models.PointStruct(id=1, vector={NAME: document})])
    status, error = error_of(failed)
    direct = httpx.post(
        f"{served.gate.forward_to}/qdrant", content=served.gate.requests[0].body, trust_env=False
    )
    assert (status, direct.status_code) == (400, 400)
    assert (
        error.endswith(f"Inference request validation failed: {direct.json()['error']}")
        and says in error
    )
    assert served.count() == 0


def test_a_failing_engine_is_an_internal_error_and_nothing_is_stored(
    world: World, start_service: Any, bundle: Bundle
) -> None:
    faults = Faults(nan_on=set(range(1, 100)))
    service = start_service(Vectorizer(bundle, FakeEngine(D, faults=faults)))
    # The warm-up fails as well, so the service may never be ready: both are server errors.
    service.wait_until(
        lambda: httpx.get(f"{service.url}/.well-known/live", trust_env=False).status_code
    )
    world.gate.forward_to = service.url
    with pytest.raises(UnexpectedResponse) as failed:
        put_list_named(world, TEXTS[0])
    status, error = error_of(failed)
    assert status == 500 and "Inference service error (50" in error
    assert world.count() == 0


def test_the_header_lusifer_api_key_authenticates_through_qdrant(
    world: World, start_service: Any, bundle: Bundle, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "tenant")
    service = start_service(Vectorizer(bundle, FakeEngine(D)), api_keys_file=keys).ready()
    world.gate.forward_to = service.url
    with pytest.raises(UnexpectedResponse) as failed:
        put_list_named(world, TEXTS[0])
    status, error = error_of(failed)
    assert (
        status == 500
        and "Authentication failed for inference service (401 Unauthorized): " in error
    )
    with (
        call_headers({"lusifer-api-key": "lusifer_wrong"}),
        pytest.raises(UnexpectedResponse) as failed,
    ):
        put_list_named(world, TEXTS[0])
    assert "Authentication failed for inference service (401 Unauthorized): " in error_of(failed)[1]
    assert world.count() == 0
    with call_headers({"lusifer-api-key": key}):
        put_list_named(world, TEXTS[0])
        found = world.client.query_points(world.name, query=world.document(TEXTS[0]), using=NAME)
    assert np.abs(world.stored(1) - world.documents([TEXTS[0]])[0]).max() < EXACT
    assert [point.id for point in found.points] == [1]
    assert [request.headers.get("lusifer-api-key") for request in world.gate.requests] == [
        None,
        "lusifer_wrong",
        key,
        key,
    ]


def test_every_header_that_ends_in_api_key_is_forwarded_and_no_other(served: World) -> None:
    sent = {
        "openai-api-key": "one",
        "X-Other-Api-Key": "two",
        "x-tenant": "three",
        "authorization-note": "four",
    }
    with call_headers(sent):
        put_list_named(served, TEXTS[0])
    (request,) = served.gate.requests
    assert {k: v for k, v in request.headers.items() if k.endswith("-api-key")} == {
        "openai-api-key": "one",
        "x-other-api-key": "two",
    }
    assert not {"x-tenant", "authorization-note", "authorization"} & set(request.headers)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Qdrant/")


def test_qdrants_own_token_authenticates_as_well(
    world: World, start_service: Any, bundle: Bundle, tmp_path: Path
) -> None:
    server = loopback(world)
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "qdrant")
    service = start_service(Vectorizer(bundle, FakeEngine(D)), api_keys_file=keys).ready()
    world.gate.forward_to = service.url
    server.inference_token = key
    try:
        put_list_named(world, TEXTS[0])
    finally:
        server.inference_token = None
    assert world.gate.requests[0].json()["token"] == key
    assert world.count() == 1


def test_upload_points_sleeps_on_429_and_completes(served: World) -> None:
    refused = iter([True, True])

    def busy(recorded: Recorded) -> tuple[int, Mapping[str, str], bytes] | None:
        return (429, {"retry-after": "1"}, b'{"error":"full"}') if next(refused, False) else None

    served.gate.answer_with(busy)
    points = [
        models.PointStruct(id=n, vector={NAME: served.document(t)}) for n, t in enumerate(TEXTS)
    ]
    start_s = time.perf_counter()
    with pytest.warns(UserWarning, match="rate limit. Waiting for 1 seconds"):
        # No retries are allowed here: a 429 with Retry-After does not count as an attempt.
        served.client.upload_points(served.name, points, batch_size=3, max_retries=0, wait=True)
    assert time.perf_counter() - start_s >= 2
    assert len(served.gate.requests) == 4
    expected = served.documents(TEXTS)
    assert all(np.abs(served.stored(n) - expected[n]).max() < EXACT for n in range(5))


def test_the_rate_limit_of_a_key_slows_an_upload_and_loses_nothing(
    world: World, start_service: Any, bundle: Bundle, tmp_path: Path
) -> None:
    texts = [f"text number {n}" for n in range(12)]
    vectorizer = Vectorizer(bundle, FakeEngine(D))
    tokens = sum(row.tokens for row in vectorizer.tokenize(texts[:8], "document"))
    tokens += sum(estimate_tokens(len(text), 32, truncates=True) for text in texts[8:])
    keys = tmp_path / "keys.toml"
    # The bucket holds a minute's worth: the last of three batches lacks 15 tokens, and waits some
    # seconds.
    key = add_key(keys, "indexer", tokens_per_minute=tokens - 15)
    service = start_service(vectorizer, api_keys_file=keys).ready()
    world.gate.forward_to = service.url
    points = [
        models.PointStruct(id=n, vector={NAME: world.document(t)}) for n, t in enumerate(texts)
    ]
    uploading = world.qdrant.client(headers={"lusifer-api-key": key})
    try:
        with pytest.warns(UserWarning, match="rate limit. Waiting for"):
            uploading.upload_points(world.name, points, batch_size=4, max_retries=0, wait=True)
    finally:
        uploading.close()
    assert world.count() == len(texts)
    assert all(
        np.abs(world.stored(n) - vector).max() < EXACT
        for n, vector in enumerate(world.documents(texts))
    )


def test_over_grpc_back_pressure_reaches_writes_only(served: World) -> None:
    if not served.qdrant.real:
        pytest.skip("LoopbackQdrant speaks REST only")
    port = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))
    client = served.qdrant.client(prefer_grpc=True, grpc_port=port)
    point = models.PointStruct(id=1, vector={NAME: served.document(TEXTS[0])})
    query = {"collection_name": served.name, "query": served.document(TEXTS[0]), "using": NAME}
    try:
        client.upsert(served.name, [point])
        assert np.abs(served.stored(1) - served.documents([TEXTS[0]])[0]).max() < EXACT
        (found,) = client.query_points(**query).points
        assert found.score == pytest.approx(
            float(served.stored(1) @ np.float32(served.query(TEXTS[0]))), abs=1e-5
        )
        sent = [request.json() for request in served.gate.requests]
        assert [(each["inference"], each["inputs"][0]["options"]) for each in sent] == [
            ("update", {}),
            ("search", {}),
        ]
        served.gate.answer(429, b"slow", {"retry-after": "2"})
        with pytest.raises(ResourceExhaustedResponse, match="Too many requests") as caught:
            client.upsert(served.name, [point])
        assert caught.value.retry_after_s == 2
        with pytest.raises(grpc.RpcError) as failed:
            client.query_points(**query)
        assert failed.value.code() == grpc.StatusCode.INTERNAL
        assert failed.value.details().startswith("Inference error: ")
    finally:
        client.close()


def test_wait_false_still_waits_for_inference(world: World) -> None:
    world.gate.answer(400, {"error": "no"})
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.upsert(
            world.name, [models.PointStruct(id=1, vector={NAME: world.document("a")})], wait=False
        )
    assert error_of(failed)[0] == 400


def test_an_unknown_collection_is_reported_before_inference_on_writes_and_after_it_on_queries(
    served: World,
) -> None:
    text = "Not found: Collection `nowhere` doesn't exist!"
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.upsert(
            "nowhere", [models.PointStruct(id=1, vector={NAME: served.document("a")})]
        )
    assert error_of(failed) == (404, text)
    assert not served.gate.requests
    with pytest.raises(UnexpectedResponse) as failed:
        served.client.query_points("nowhere", query=served.document("a"), using=NAME)
    assert error_of(failed) == (404, text)
    assert len(served.gate.requests) == 1


def test_metadata_is_kept_from_creation_and_changed_in_place(world: World) -> None:
    name = f"{world.name}-metadata"
    params = models.VectorParams(size=D, distance=models.Distance.COSINE)
    world.client.create_collection(
        name, vectors_config={NAME: params}, metadata={"model": "a", "kept": [1]}
    )
    try:
        assert world.client.get_collection(name).config.metadata == {"model": "a", "kept": [1]}
        world.client.update_collection(name, metadata={"model": "b"})
        assert world.client.get_collection(name).config.metadata == {"model": "b", "kept": [1]}
        assert world.client.get_collection(world.name).config.metadata in (None, {})
    finally:
        world.client.delete_collection(name)


def test_settings_that_a_migration_changes_are_read_back(world: World) -> None:
    world.client.update_collection(
        world.name,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        strict_mode_config=models.StrictModeConfig(enabled=True, upsert_max_batchsize=100),
    )
    world.client.create_payload_index(world.name, "group", models.PayloadSchemaType.INTEGER)
    info = world.client.get_collection(world.name)
    assert info.status == models.CollectionStatus.GREEN and info.points_count == 0
    assert info.config.optimizer_config.indexing_threshold == 0
    assert info.config.strict_mode_config.upsert_max_batchsize == 100
    assert info.config.params.vectors[NAME].size == D
    assert info.payload_schema["group"].data_type == models.PayloadSchemaType.INTEGER


def test_one_action_switches_an_alias_and_a_failing_one_keeps_earlier_ones(world: World) -> None:
    alias = f"{world.name}-alias"

    def create(name: str) -> models.CreateAliasOperation:
        return models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
        )

    def behind() -> list[str]:
        return [
            a.collection_name for a in world.client.get_aliases().aliases if a.alias_name == alias
        ]

    world.client.update_collection_aliases([create(world.unnamed)])
    world.client.update_collection_aliases([create(world.name)])
    assert behind() == [world.name]
    world.fill()
    assert world.client.count(alias).count == len(TEXTS)
    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.update_collection_aliases([delete, create("nowhere")])
    assert error_of(failed) == (404, "Not found: Collection `nowhere` doesn't exist!")
    assert behind() == [], "applied one by one"


def test_points_without_a_new_vector_are_counted_and_found(
    world: World,
) -> None:
    world.fill()
    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=8, distance="Cosine"))
    world.client.create_vector_name(world.name, "new", config)
    missing = models.Filter(must_not=[models.HasVectorCondition(has_vector="new")])
    assert world.client.count(world.name, count_filter=missing).count == len(TEXTS)
    world.client.update_vectors(world.name, [models.PointVectors(id=1, vector={"new": [1.0] * 8})])
    assert world.client.count(world.name, count_filter=missing).count == len(TEXTS) - 1
    assert 1 not in [point.id for point in world.client.scroll(world.name, missing)[0]]
    world.client.delete_vector_name(world.name, "new")
    assert "new" not in world.client.get_collection(world.name).config.params.vectors


def test_a_guarded_update_spares_a_point_that_was_edited(world: World) -> None:
    world.fill()
    world.client.set_payload(world.name, {"hash": "old"}, points=[0, 1, 2])
    world.client.set_payload(world.name, {"hash": "edited"}, points=[1])
    before = [world.stored(n) for n in range(3)]
    same = models.FieldCondition(key="hash", match=models.MatchValue(value="old"))
    guard = models.Filter(
        should=[models.Filter(must=[models.HasIdCondition(has_id=[n]), same]) for n in range(3)]
    )
    points = [models.PointVectors(id=n, vector={NAME: [1.0] * D}) for n in range(3)]
    world.client.update_vectors(world.name, points, update_filter=guard)
    assert [bool((world.stored(n) == before[n]).all()) for n in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("mode", "ids"), [("upsert", [0, 9]), ("insert_only", [9]), ("update_only", [0])]
)
def test_the_update_mode_selects_the_points_an_upsert_writes(
    world: World, mode: str, ids: list[int]
) -> None:
    world.fill()
    points = [
        models.PointStruct(id=n, vector={NAME: [1.0] * D}, payload={"new": True}) for n in (0, 9)
    ]
    world.client.upsert(
        world.name,
        points,
        update_mode=models.UpdateMode(mode),
        ordering=models.WriteOrdering.STRONG,
    )
    new = models.Filter(
        must=[models.FieldCondition(key="new", match=models.MatchValue(value=True))]
    )
    assert [point.id for point in world.client.scroll(world.name, new)[0]] == ids


def test_a_missing_point_is_404_and_32_points_a_call_write_all_others(world: World) -> None:
    points = [models.PointStruct(id=n, vector={NAME: [1.0] * D}) for n in range(256)]
    world.client.upsert(world.name, points)
    world.client.delete(world.name, [7])

    def update(ids: range, first: float) -> tuple[int, str]:
        vectors = [models.PointVectors(id=n, vector={NAME: [first] + [1.0] * (D - 1)}) for n in ids]
        with pytest.raises(UnexpectedResponse) as failed:
            world.client.update_vectors(world.name, vectors)
        return error_of(failed)

    def written(first: float) -> int:
        found = world.client.scroll(world.name, limit=300, with_vectors=True)[0]
        expected = first / np.sqrt(first**2 + D - 1)
        return sum(abs(point.vector[NAME][0] - expected) < 1e-3 for point in found)

    assert update(range(CHUNK_POINTS), -1.0) == (404, "Not found: No point with id 7 found")
    assert written(-1.0) == CHUNK_POINTS - 1
    assert update(range(256), -5.0)[0] == 404
    assert CHUNK_POINTS - 1 <= written(-5.0) <= 255, (
        "how many of the others are written depends on the engine"
    )


def test_a_body_over_32_megabytes_is_refused(world: World) -> None:
    point = {"id": 1, "vector": {}, "payload": {"text": "x" * (32 * 2**20)}}
    answer = world.post("/points", {"points": [point]}, method="PUT")
    assert answer.status_code == 400
    assert "is larger than allowed (limit: 33554432 bytes)" in answer.json()["status"]["error"]
    assert world.count() == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_loopback_server_drops_a_connection_before_or_after_the_write(
    world: World, after: bool
) -> None:
    loopback(world).fail_next(1, drop=True, after=after, method="PUT")
    point = models.PointStruct(id=1, vector={NAME: [1.0] * D})
    with pytest.raises(ResponseHandlingException, match=r"disconnected|reset"):
        world.client.upsert(world.name, [point])
    assert world.count() == int(after)
    world.client.upsert(world.name, [point])
    assert world.count() == 1


def test_the_loopback_server_fails_as_often_as_it_was_asked_to(world: World) -> None:
    server = loopback(world)
    server.fail_next(2, status=429, headers={"retry-after": "3"}, path="/points/count")
    server.fail_next(1, status=503, after=True, path="/points")
    for _ in range(2):
        with pytest.raises(ResourceExhaustedResponse) as caught:
            world.client.count(world.name)
        assert caught.value.retry_after_s == 3
    with pytest.raises(UnexpectedResponse) as failed:
        world.client.upsert(world.name, [models.PointStruct(id=1, vector={NAME: [1.0] * D})])
    assert error_of(failed)[0] == 503
    assert world.count() == 1, "written, although the answer was lost"
    assert [request.path for request in server.requests if request.method == "PUT"][-1].endswith(
        "/points"
    )
    assert world.client.info().version == "1.19.0"
