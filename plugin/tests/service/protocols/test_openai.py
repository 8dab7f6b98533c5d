from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import MODEL, cohere

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from numpy.typing import NDArray


def test_openai_reports_the_free_queue_so_that_weaviate_batches(
    embedded: Callable[..., NDArray[np.float32]], service: Any
) -> None:
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
        assert np.abs(vector - embedded(["a"], role)[0]).max() < 1e-6


def test_without_a_model_or_v1_the_served_model_answers(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client
) -> None:
    for path in ("/v1/embeddings", "/embeddings"):
        answer = http.post(path, json={"input": "a"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == MODEL
        vector = np.float32(answer.json()["data"][0]["embedding"])
        assert np.abs(vector - embedded(["a"])[0]).max() < 1e-6


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], [[]]])
def test_token_ids_are_refused_with_langchains_option(http: httpx.Client, ids: object) -> None:
    # What OpenAIEmbeddings of langchain-openai sends by default.
    body = {"input": ids, "model": MODEL, "encoding_format": "base64"}
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "Token ids" in message
    assert "check_embedding_ctx_length=False" in message


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/nonsense"), ("POST", "/wrong/base"), ("GET", "/v1/engines")]
)
def test_a_wrong_base_url_gets_an_error_that_openais_client_shows(
    http: httpx.Client, method: str, path: str
) -> None:
    answer = http.request(method, path, json={"input": "a", "model": MODEL})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert path in error["message"]
    assert "/v1/embeddings" in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("option", "status"),
    [
        ({"truncate": "NONE"}, 400),
        ({"truncate": "END"}, 200),
        ({"truncate": "START"}, 400),
        ({"truncation": False}, 400),
        ({"truncation": True}, 200),
        ({}, 200),
    ],
)
def test_wishes_about_long_texts_are_honoured(
    http: httpx.Client, option: dict[str, Any], status: int
) -> None:
    body = {"input": "word " * 100, "model": MODEL}
    answer = http.post("/v1/embeddings", json=body | option)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["data"][0]["truncated"] is True


def test_role_and_dimension_by_their_foreign_names(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client
) -> None:
    body = {"input": "a", "model": MODEL, "output_dimension": 8, "task": "retrieval.query"}
    vector = np.float32(http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"])
    expected = embedded(["a"], "query")[0, :8]
    assert np.abs(vector - expected / np.linalg.norm(expected)).max() < 1e-6
    answer = http.post("/v1/embeddings", json=body | {"dimensions": 16})
    assert answer.status_code == 400
    assert "dimensions says 16, output_dimension says 8" in answer.json()["error"]["message"]


def test_azures_paths_name_the_model(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client
) -> None:
    for path, role in (
        ("/openai/v1/embeddings", "document"),
        (f"/openai/deployments/{MODEL}/embeddings?api-version=2024-10-21", "document"),
        (f"/openai/deployments/{MODEL}:query/embeddings", "query"),
    ):
        answer = http.post(path, json={"input": "a"})
        assert answer.status_code == 200, answer.text
        vector = np.float32(answer.json()["data"][0]["embedding"])
        assert np.abs(vector - embedded(["a"], role)[0]).max() < 1e-6
    wrong = http.post("/openai/deployments/ada/embeddings", json={"input": "a", "model": MODEL})
    assert (wrong.status_code, "'ada'" in wrong.text) == (404, True)
