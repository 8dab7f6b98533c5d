from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from plugin.tests.service.protocol_cases import MODEL, cohere

if TYPE_CHECKING:
    from collections.abc import Callable

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
