"""The bytes that databases really send, and what their clients make of our answers.

Recorded from Weaviate 1.39.0 (Go's net/http) and Qdrant 1.19.0 (reqwest): no Content-Type from the
first, escaped ``<>&``, its answer's fields already in the request; inputs in random order from the
second."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults

if TYPE_CHECKING:
    from lusifer.bundle.format import Bundle
    from lusifer.types import Role

D = 16
MODEL = "lusifer-tiny-test"


def weaviate(path: str, body: str) -> bytes:
    raw = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(raw)}\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    return head.encode() + raw


def cohere(path: str, body: dict[str, Any]) -> bytes:
    raw = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(raw)}\r\nAuthorization: Bearer any\r\nContent-Type: application/json\r\n"
        "Request-Source: unspecified:weaviate\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    return head.encode() + raw


def qdrant(path: str, body: str) -> bytes:
    raw = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\ncontent-type: application/json\r\naccept: */*\r\n"
        f"user-agent: Qdrant/1.19.0\r\nhost: 127.0.0.1:8000\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def qdrant_body(texts: list[str], inference: str, options: str = "null", model: str = MODEL) -> str:
    inputs = ",".join(
        f'{{"data":{json.dumps(text, ensure_ascii=False)},"data_type":"text","model":"{model}",'
        f'"options":{options}}}'
        for text in texts
    )
    return f'{{"inputs":[{inputs}],"inference":"{inference}","token":null}}'


def vectors_of(bundle: Bundle, texts: list[str], role: Role) -> np.ndarray:
    return Vectorizer(bundle, FakeEngine(D)).embed(texts, role).vectors


@pytest.fixture
def service(bundle: Bundle, start_service: Any) -> Any:
    return start_service(Vectorizer(bundle, FakeEngine(D))).ready()


@pytest.mark.parametrize("path", ["/vectors", "/vectors/", "//vectors"])
@pytest.mark.parametrize(("task", "role"), [("passage", "document"), ("query", "query")])
def test_weaviates_request_as_its_go_client_writes_it(
    service: Any, bundle: Bundle, path: str, task: str, role: Role
) -> None:
    body = (
        r'{"text":"Caf\u003cé\u003e \u0026 猫","dims":0,"vector":null,"error":"",'
        f'"config":{{"pooling_strategy":"masked_mean","task_type":"{task}"}}}}'
    )
    status, headers, answer = service.exchange(weaviate(path, body))
    # Go decodes before it looks at the status, takes only 200, and reads null in the array as 0.
    fields = json.loads(answer)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(answer)
    assert fields["text"] == "Caf<é> & 猫"
    assert (fields["dim"], fields["dims"], fields["truncated"]) == (D, D, False)
    assert (
        np.abs(np.float32(fields["vector"]) - vectors_of(bundle, ["Caf<é> & 猫"], role)[0]).max()
        < 1e-6
    )


def test_weaviate_before_1_31_sends_no_role_and_documents_are_meant(
    service: Any, bundle: Bundle
) -> None:
    body = (
        '{"text":"a","dims":0,"vector":null,"error":"","config":{"pooling_strategy":"masked_mean"}}'
    )
    _, _, answer = service.exchange(weaviate("/vectors", body))
    assert (
        np.abs(
            np.float32(json.loads(answer)["vector"]) - vectors_of(bundle, ["a"], "document")[0]
        ).max()
        < 1e-6
    )


def test_weaviates_dimensions_are_kept(service: Any) -> None:
    body = '{"text":"a","dims":0,"vector":null,"error":"","config":{"task_type":"query","dimensions":8}}'
    fields = json.loads(service.exchange(weaviate("/vectors", body))[2])
    assert (len(fields["vector"]), fields["dim"]) == (8, 8)
    assert np.linalg.norm(fields["vector"]) == pytest.approx(1, abs=1e-5)


def test_a_cut_text_is_reported_to_weaviate(service: Any) -> None:
    body = json.dumps({"text": "word " * 100, "config": {"task_type": "passage"}})
    assert json.loads(service.exchange(weaviate("/vectors", body))[2])["truncated"] is True


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "empty"), (" ", "visible"), ("a\\u0000b", "NUL"), ("\\ud800", "hex escape")],
)
def test_weaviate_is_told_in_error_and_gets_no_vector(service: Any, text: str, word: str) -> None:
    status, _, answer = service.exchange(weaviate("/vectors", f'{{"text":"{text}","config":{{}}}}'))
    fields = json.loads(answer)
    assert status == 400
    assert isinstance(fields["error"], str)
    assert word in fields["error"]
    assert "vector" not in fields


def test_weaviates_probes(service: Any) -> None:
    for path in ("/.well-known/ready", "/.well-known/live"):
        status, _, body = service.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (status, body) == (204, b"")
    status, _, body = service.exchange(
        b"GET /meta HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    assert status == 200
    assert json.loads(body)["model"] == MODEL


@pytest.mark.parametrize("path", ["/v2/embed", "//v2/embed", "/lusifer/v2/embed"])
@pytest.mark.parametrize(
    ("kind", "role"), [("search_document", "document"), ("search_query", "query")]
)
def test_weaviates_cohere_module(
    service: Any, bundle: Bundle, path: str, kind: str, role: Role
) -> None:
    texts = [f"text {n}" for n in range(96)]
    body = {
        "texts": texts,
        "model": MODEL,
        "input_type": kind,
        "embedding_types": ["float"],
        "truncate": "END",
    }
    status, _, answer = service.exchange(cohere(path, body))
    fields = json.loads(answer)
    assert status == 200
    assert (
        np.abs(np.float32(fields["embeddings"]["float"]) - vectors_of(bundle, texts, role)).max()
        < 1e-6
    )
    assert fields["id"]
    assert fields["meta"]["billed_units"]["input_tokens"] > 96


def test_cohere_truncate_is_honoured_and_reported(service: Any) -> None:
    body = {"texts": ["short", "word " * 100], "model": MODEL, "input_type": "search_document"}
    _, _, answer = service.exchange(cohere("/v2/embed", body | {"truncate": "END"}))
    assert json.loads(answer)["meta"]["warnings"] == ["The end of these texts was cut off: 1."]
    status, _, answer = service.exchange(cohere("/v2/embed", body | {"truncate": "NONE"}))
    assert status == 400
    assert json.loads(answer)["message"].startswith("Text 1: ")


@pytest.mark.parametrize("path", ["/", "/qdrant"])
@pytest.mark.parametrize(("inference", "role"), [("update", "document"), ("search", "query")])
@pytest.mark.parametrize("options", ["null", "{}"])
def test_qdrants_request_as_its_rust_client_writes_it(
    service: Any, bundle: Bundle, path: str, inference: str, role: Role, options: str
) -> None:
    texts = ["Bonjour le monde", "Hallo Welt", "世界"]
    status, _, answer = service.exchange(qdrant(path, qdrant_body(texts, inference, options)))
    fields = json.loads(answer)
    assert status == 200
    assert np.abs(np.float32(fields["embeddings"]) - vectors_of(bundle, texts, role)).max() < 1e-6
    assert fields["usage"]["models"][MODEL]["tokens"] > 9


def test_qdrants_mixed_options_keep_count_and_order(service: Any, bundle: Bundle) -> None:
    inputs = [
        {
            "data": f"text {n}",
            "data_type": "text",
            "model": MODEL,
            "options": {"dimensions": 8} if n % 3 else None,
        }
        for n in range(20)
    ]
    body = json.dumps({"inputs": inputs, "inference": "update", "token": None})
    embeddings = json.loads(service.exchange(qdrant("/", body))[2])["embeddings"]
    full = vectors_of(bundle, [item["data"] for item in inputs], "document")
    for n, vector in enumerate(embeddings):
        expected = full[n, :8] / np.linalg.norm(full[n, :8]) if n % 3 else full[n]
        assert np.abs(np.float32(vector) - expected).max() < 1e-6


def test_qdrant_errors_are_the_ones_it_passes_on(
    bundle: Bundle, start_service: Any, service: Any
) -> None:
    # 400 with "error" is shown word for word; a 404 would become "can't process request".
    for body in (
        qdrant_body(["a\\u0000b"], "update").replace("\\\\u0000", "\\u0000"),
        qdrant_body(["a"], "update", model="other"),
        qdrant_body(["a"], "update", options='{"instruction":"x"}'),
    ):
        status, _, answer = service.exchange(qdrant("/", body))
        assert status == 400
        assert isinstance(json.loads(answer)["error"], str)
    faults = Faults(nan_on=set(range(3, 50)))
    broken = start_service(Vectorizer(bundle, FakeEngine(D, faults=faults))).ready()
    status, _, answer = broken.exchange(qdrant("/", qdrant_body(["a"], "search")))
    assert status == 500
    assert "embeddings" not in json.loads(answer)


def test_openai_tells_what_is_left_so_that_weaviate_batches(service: Any, bundle: Bundle) -> None:
    body = {"input": ["a", "b"], "model": MODEL}
    status, headers, answer = service.exchange(cohere("/v1/embeddings", body))
    assert status == 200
    for name in ("limit-requests", "remaining-requests", "limit-tokens", "remaining-tokens"):
        assert int(headers[f"x-ratelimit-{name}"]) > 0
    assert headers["x-ratelimit-reset-tokens"].endswith("s")
    fields = json.loads(answer)
    assert [item["index"] for item in fields["data"]] == [0, 1]
    assert fields["usage"]["total_tokens"] > 4
    for model, kind, role in ((f"{MODEL}:query", None, "query"), (MODEL, "search_query", "query")):
        extra = {"input_type": kind} if kind else {}
        answer = service.exchange(
            cohere("/v1/embeddings", {"input": "a", "model": model, **extra})
        )[2]
        vector = np.float32(json.loads(answer)["data"][0]["embedding"])
        assert np.abs(vector - vectors_of(bundle, ["a"], role)[0]).max() < 1e-6


def test_tei_refuses_a_long_text_unless_it_may_be_cut(service: Any) -> None:
    body = {"inputs": ["word " * 100]}
    status, _, answer = service.exchange(cohere("/embed", body))
    assert (status, json.loads(answer)["error_type"]) == (400, "validation")
    assert service.exchange(cohere("/embed", body | {"truncate": True}))[0] == 200


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
def test_a_shorter_dimension_is_cut_and_of_unit_norm_and_a_cut_text_is_told(
    service: Any, bundle: Bundle, path: str, body: dict[str, Any], vector_of: Any, cut_of: Any
) -> None:
    for text, cut in (("short", False), ("word " * 100, True)):
        status, _, answer = service.exchange(
            cohere(path, json.loads(json.dumps(body).replace("TEXT", text)))
        )
        fields = json.loads(answer)
        assert status == 200
        full = vectors_of(bundle, [text], "document")[0, :8]
        assert np.abs(np.float32(vector_of(fields)) - full / np.linalg.norm(full)).max() < 1e-6
        # The answers of Qdrant's protocol and of TEI have no room for it.
        if cut_of is not None:
            assert bool(cut_of(fields)) is cut


@pytest.mark.parametrize("operator", ["truncate", "mean_of_windows", "error"])
def test_the_operators_choice_for_long_texts(
    bundle: Bundle, start_service: Any, operator: Any
) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(D), long_text=operator)
    service = start_service(vectorizer, long_text=operator).ready()
    text = " ".join(f"word{n}" for n in range(60))
    status, _, answer = service.exchange(weaviate("/vectors", json.dumps({"text": text})))
    if operator == "error":
        assert status == 400
    else:
        expected = Vectorizer(bundle, FakeEngine(D), long_text=operator).embed_documents([text])
        assert np.abs(np.float32(json.loads(answer)["vector"]) - expected.vectors[0]).max() < 1e-6
    # Weaviate's module for Cohere asks for END with every call, which is no wish of the user's.
    body = {"texts": [text], "model": MODEL, "input_type": "search_document", "truncate": "END"}
    status, _, answer = service.exchange(cohere("/v2/embed", body))
    assert status == 200
    policy = "truncate" if operator == "error" else operator
    expected = Vectorizer(bundle, FakeEngine(D), long_text=policy).embed_documents([text])
    found = np.float32(json.loads(answer)["embeddings"]["float"][0])
    assert np.abs(found - expected.vectors[0]).max() < 1e-6
