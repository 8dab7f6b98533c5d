"""Mapping of bodies to texts and answers, over all protocols at once."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import (
    DIMENSION,
    INPUT,
    MODEL,
    PROTOCOLS,
    VECTOR_OF,
    body_of,
    cohere,
    every_protocol,
    qdrant,
    weaviate,
)

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.service.app import create_app
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from numpy.typing import NDArray
    from plugin.tests.service.conftest import GatedEngine

    from lusifer.bundle.format import Bundle
    from lusifer.service.protocols.common import Body
    from lusifer.service.routing import Operation


@every_protocol
def test_all_protocols_give_the_vector_that_the_library_gives(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client, protocol: str
) -> None:
    answer = http.post(PROTOCOLS[protocol][0], content=body_of(protocol, "Die Katze sitzt"))
    assert answer.status_code == 200, answer.text
    (expected,) = embedded(["Die Katze sitzt"])
    assert np.abs(np.float32(VECTOR_OF[protocol](answer.json())) - expected).max() < 1e-6
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("protocol", "path", "body", "status"),
    [
        ("cohere", "/v2/embed", {"texts": [], "input_type": "search_query"}, 400),
        ("cohere", "/v2/embed", {"texts": ["a"] * 97, "input_type": "search_query"}, 413),
        ("cohere", "/v2/embed", {"texts": ["a"], "input_type": "image"}, 400),
        ("cohere", "/v2/embed", {"texts": ["a"]}, 400),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "truncate": "START"},
            400,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "embedding_types": ["int8"]},
            400,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "model": "gpt"},
            404,
        ),
        (
            "cohere",
            "/v2/embed",
            {"texts": ["a"], "input_type": "search_query", "output_dimension": 5},
            400,
        ),
        ("openai", "/v1/embeddings", {"input": [], "model": MODEL}, 400),
        ("openai", "/v1/embeddings", {"input": [1, 2, 3], "model": MODEL}, 400),
        ("openai", "/v1/embeddings", {"input": ["a"] * 10_000, "model": MODEL}, 413),
        ("openai", "/v1/embeddings", {"input": "a", "model": "text-embedding-3-small"}, 404),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "dimensions": 5}, 400),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "dimensions": 10**30}, 400),
        ("openai", "/v1/embeddings", {"input": "a", "model": MODEL, "encoding_format": "hex"}, 400),
        (
            "openai",
            "/v1/embeddings",
            {"input": "a", "model": MODEL + ":query", "input_type": "passage"},
            400,
        ),
        ("tei", "/embed", {"inputs": []}, 400),
        ("tei", "/embed", {"inputs": ["a"] * 10_000}, 413),
        ("tei", "/embed", {"inputs": "a", "truncate": True, "truncation_direction": "Left"}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"task_type": "clustering"}}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"dimensions": 5}}, 400),
        ("weaviate", "/vectors", {"text": "a", "config": {"dimensions": -1}}, 400),
        ("qdrant", "/", {"inputs": [], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT] * 10_000, "inference": "update"}, 413),
        ("qdrant", "/", {"inputs": [{"data": "a", "model": "x"}], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT | {"data_type": "image"}], "inference": "update"}, 400),
        ("qdrant", "/", {"inputs": [INPUT]}, 400),
        ("qdrant", "/", {"inputs": [INPUT], "inference": "x"}, 400),
        (
            "qdrant",
            "/",
            {"inputs": [INPUT | {"options": {"prompt": "x"}}], "inference": "search"},
            400,
        ),
    ],
)
def test_what_a_protocol_cannot_do_is_refused_and_not_ignored(
    http: httpx.Client, protocol: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert len(PROTOCOLS[protocol][2](answer.json())) > 20


def _every_optional_field() -> Iterator[Any]:
    """Yield each path with a body, and each field that its body may do without."""
    for route in create_app(Settings()).routes:
        operation: Operation | None = getattr(route, "operation", None)
        if operation is None or operation.body is None:
            continue
        for name, field in operation.body.model_fields.items():
            if not field.is_required():
                yield pytest.param(operation.body, name, id=f"{route.path} {name}")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("body", "name"), list(_every_optional_field()))
def test_null_means_not_given_for_every_optional_field(body: type[Body], name: str) -> None:
    default = body.model_fields[name].default
    required: dict[str, Any] = {
        each: "a text" for each, field in body.model_fields.items() if field.is_required()
    }
    required |= {"texts": ["a"], "inference": "update", "input_type": "search_query"}
    if "inference" in body.model_fields:
        required["inputs"] = [INPUT]
    fields = {each: value for each, value in required.items() if each in body.model_fields}
    parsed = body.model_validate_json(json.dumps(fields | {name: None}))
    assert getattr(parsed, name) == default


@pytest.mark.parametrize(
    ("path", "body", "option"),
    [
        ("/v1/embeddings", {"input": "a"}, {"late_chunking": True}),
        ("/v1/embeddings", {"input": "a"}, {"truncate_prompt_tokens": 5}),
        ("/v1/embeddings", {"input": "a"}, {"add_special_tokens": False}),
        ("/v1/embeddings", {"input": "a"}, {"modality": "image"}),
        ("/v1/embeddings", {"input": "a"}, {"embedding_type": "binary"}),
        ("/v1/embeddings", {"input": "a"}, {"output_dtype": "int8"}),
        ("/v1/embeddings", {"input": "a"}, {"prompt_name": "query"}),
        ("/v2/embed", {"texts": ["a"], "input_type": "search_query"}, {"images": ["data:"]}),
        ("/v2/embed", {"texts": ["a"], "input_type": "search_query"}, {"inputs": [{}]}),
        ("/embed", {"inputs": "a"}, {"parameters": {"truncate": True}}),
        ("/embed", {"inputs": "a"}, {"prompt": "query: "}),
    ],
)
def test_a_known_foreign_option_is_refused_and_its_null_taken(
    http: httpx.Client, path: str, body: dict[str, Any], option: dict[str, Any]
) -> None:
    (name,) = option
    refused = http.post(path, json=body | option)
    assert refused.status_code == 400
    assert name in refused.text
    assert http.post(path, json=body | {name: None}).status_code == 200
    assert http.post(path, json=body | {"unknown": 1}).status_code == 200


@every_protocol
def test_slashes_beside_a_path_change_nothing(service: Any, protocol: str) -> None:
    for shape in ("//{}", "/{}/", "//{}//"):
        path = shape.format(PROTOCOLS[protocol][0].lstrip("/"))
        # The request's line as it stands: clients differ in what they make of such a URL.
        status, _, answer = service.exchange(qdrant(path, body_of(protocol, "a").decode()))
        assert status == 200, answer


@every_protocol
def test_a_full_queue_says_when_to_come_back(
    gated_engine: GatedEngine, serve_gated: Callable[..., Any], protocol: str
) -> None:
    service = serve_gated(queue_tokens=20, batch_tokens=20)
    path, _, message_of = PROTOCOLS[protocol]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.http.post, path, content=body_of(protocol, "a" * 20))
        assert gated_engine.entered.wait(120)
        answer = service.http.post(path, content=body_of(protocol, "b" * 20))
        gated_engine.gate.set()
        assert first.result().status_code == 200
    assert answer.status_code == (503 if protocol in {"weaviate", "cohere"} else 429)
    assert int(answer.headers["retry-after"]) >= 1
    assert "queue" in message_of(answer.json())
    if protocol in {"weaviate", "cohere"}:
        # Weaviate's Python client sends an object again if its error has this phrase. Weaviate
        # adds it to messages of its Cohere module, but not to those of text2vec-transformers.
        assert ("failed with status: 503 error" in message_of(answer.json())) == (
            protocol == "weaviate"
        )
    assert service.http.post(path, content=body_of(protocol, "b" * 20)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "vector_of", "cut_of"),
    [
        (
            "/vectors",
            {"text": "TEXT", "config": {"dimensions": 8}},
            lambda body: body["vector"],
            lambda body: body["truncated"],
        ),
        (
            "/v2/embed",
            {"texts": ["TEXT"], "input_type": "search_document", "output_dimension": 8},
            lambda body: body["embeddings"]["float"][0],
            lambda body: "warnings" in body["meta"],
        ),
        (
            "/qdrant",
            {
                "inputs": [{"data": "TEXT", "model": MODEL, "options": {"dimensions": 8}}],
                "inference": "update",
            },
            lambda body: body["embeddings"][0],
            None,
        ),
        (
            "/v1/embeddings",
            {"input": "TEXT", "model": MODEL, "dimensions": 8, "encoding_format": "base64"},
            lambda body: np.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4"),
            lambda body: body["data"][0].get("truncated", False),
        ),
        (
            "/embed",
            {"inputs": "TEXT", "dimensions": 8, "truncate": True},
            lambda body: body[0],
            None,
        ),
    ],
    ids=["weaviate", "cohere", "qdrant", "openai", "tei"],
)
def test_a_shorter_dimension_is_cut_and_of_unit_norm_and_a_cut_text_is_reported(
    embedded: Callable[..., NDArray[np.float32]],
    service: Any,
    path: str,
    body: dict[str, Any],
    vector_of: Any,
    cut_of: Any,
) -> None:
    for text, cut in (("short", False), ("word " * 100, True)):
        status, _, answer = service.exchange(
            cohere(path, json.loads(json.dumps(body).replace("TEXT", text)))
        )
        fields = json.loads(answer)
        assert status == 200
        full = embedded([text], "document")[0, :8]
        assert np.abs(np.float32(vector_of(fields)) - full / np.linalg.norm(full)).max() < 1e-6
        # The answers of Qdrant's protocol and of TEI have no room for it.
        if cut_of is not None:
            assert bool(cut_of(fields)) is cut


@pytest.mark.parametrize("operator", ["truncate", "mean_of_windows", "error"])
def test_the_operators_choice_for_long_texts(
    bundle: Bundle, embedded: Callable[..., NDArray[np.float32]], start_service: Any, operator: Any
) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(DIMENSION), long_text=operator)
    service = start_service(vectorizer, long_text=operator).ready()
    text = " ".join(f"word{n}" for n in range(60))
    status, _, answer = service.exchange(weaviate("/vectors", json.dumps({"text": text})))
    if operator == "error":
        assert status == 400
    else:
        (expected,) = embedded([text], long_text=operator)
        assert np.abs(np.float32(json.loads(answer)["vector"]) - expected).max() < 1e-6
    # Weaviate's module for Cohere sends END with every call, which no user has chosen.
    body = {"texts": [text], "model": MODEL, "input_type": "search_document", "truncate": "END"}
    status, _, answer = service.exchange(cohere("/v2/embed", body))
    assert status == 200
    policy = "truncate" if operator == "error" else operator
    (expected,) = embedded([text], long_text=policy)
    found = np.float32(json.loads(answer)["embeddings"]["float"][0])
    assert np.abs(found - expected).max() < 1e-6
