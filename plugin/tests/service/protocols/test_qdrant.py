from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import DIMENSION, MODEL, qdrant, qdrant_body

from lusifer.engines.fake import FakeEngine, Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lusifer.types import Role


@pytest.mark.parametrize("path", ["/", "/qdrant"])
@pytest.mark.parametrize(("inference", "role"), [("update", "document"), ("search", "query")])
@pytest.mark.parametrize("options", ["null", "{}"])
def test_qdrants_request_as_its_rust_client_writes_it(
    embedded: Callable[..., NDArray[np.float32]],
    service: Any,
    path: str,
    inference: str,
    role: Role,
    options: str,
) -> None:
    texts = ["Bonjour le monde", "Hallo Welt", "世界"]
    status, _, answer = service.exchange(qdrant(path, qdrant_body(texts, inference, options)))
    fields = json.loads(answer)
    assert status == 200
    assert np.abs(np.float32(fields["embeddings"]) - embedded(texts, role)).max() < 1e-6
    assert fields["usage"]["models"][MODEL]["tokens"] > 9


def test_qdrants_mixed_options_keep_count_and_order(
    embedded: Callable[..., NDArray[np.float32]], service: Any
) -> None:
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
    full = embedded([item["data"] for item in inputs], "document")
    for n, vector in enumerate(embeddings):
        expected = full[n, :8] / np.linalg.norm(full[n, :8]) if n % 3 else full[n]
        assert np.abs(np.float32(vector) - expected).max() < 1e-6


def test_qdrant_errors_are_the_ones_it_passes_on(serve: Callable[..., Any], service: Any) -> None:
    # Qdrant passes on the "error" of a 400; a 404 would become "can't process request".
    for body in (
        qdrant_body(["a\\u0000b"], "update").replace("\\\\u0000", "\\u0000"),
        qdrant_body(["a"], "update", model="other"),
        qdrant_body(["a"], "update", options='{"instruction":"x"}'),
    ):
        status, _, answer = service.exchange(qdrant("/", body))
        assert status == 400
        assert isinstance(json.loads(answer)["error"], str)
    faults = Faults(nan_on=set(range(3, 50)))
    broken = serve(FakeEngine(DIMENSION, faults=faults))
    status, _, answer = broken.exchange(qdrant("/", qdrant_body(["a"], "search")))
    assert status == 500
    assert "embeddings" not in json.loads(answer)
