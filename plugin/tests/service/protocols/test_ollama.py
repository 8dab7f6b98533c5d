from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from numpy.typing import NDArray

    from lusifer.types import Role


@pytest.mark.parametrize(
    ("model", "role"),
    [
        (MODEL, "document"),
        (f"{MODEL}:latest", "document"),
        (f"{MODEL}:query", "query"),
        (f"{MODEL}:query:latest", "query"),
    ],
)
def test_both_forms_of_the_api_with_the_models_role(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client, model: str, role: Role
) -> None:
    texts = ["Die Katze", "sitzt"]
    expected = embedded(texts, role)
    # Ollama's Python client sends its unset options as null.
    body = {"model": model, "input": texts, "truncate": None, "options": {}, "keep_alive": None}
    answer = http.post("/api/embed", json=body).json()
    assert np.abs(np.float32(answer["embeddings"]) - expected).max() < 1e-6
    assert answer["model"] == model
    assert answer["prompt_eval_count"] > 2
    older = http.post("/api/embeddings", json={"model": model, "prompt": texts[0]}).json()
    assert np.abs(np.float32(older["embedding"]) - expected[0]).max() < 1e-6


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": "word " * 100, "truncate": False}, 400),
        ({"input": "word " * 100}, 200),
        ({"input": "a", "model": "nomic-embed-text"}, 404),
        ({"input": "a", "images": ["AAAA"]}, 400),
        ({"input": [1, 2]}, 400),
        ({"input": "a", "dimensions": 5}, 400),
    ],
)
def test_options_are_honoured_or_refused(
    http: httpx.Client, body: dict[str, Any], status: int
) -> None:
    answer = http.post("/api/embed", json=body)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert isinstance(answer.json()["error"], str)


def test_the_list_of_models(http: httpx.Client) -> None:
    names = [model["name"] for model in http.get("/api/tags").json()["models"]]
    assert names[0] == f"{MODEL}:latest"
    assert http.post("/api/embed", json={"input": "a", "model": names[1]}).status_code == 200
