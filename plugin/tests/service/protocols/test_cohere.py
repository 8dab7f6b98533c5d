from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import MODEL, cohere

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lusifer.types import Role


@pytest.mark.parametrize("path", ["/v2/embed", "//v2/embed", "/lusifer/v2/embed"])
@pytest.mark.parametrize(
    ("kind", "role"), [("search_document", "document"), ("search_query", "query")]
)
def test_weaviates_cohere_module(
    embedded: Callable[..., NDArray[np.float32]], service: Any, path: str, kind: str, role: Role
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
    assert np.abs(np.float32(fields["embeddings"]["float"]) - embedded(texts, role)).max() < 1e-6
    assert fields["id"]
    assert fields["meta"]["billed_units"]["input_tokens"] > 96


def test_cohere_truncate_is_honoured_and_reported(service: Any) -> None:
    body = {"texts": ["short", "word " * 100], "model": MODEL, "input_type": "search_document"}
    _, _, answer = service.exchange(cohere("/v2/embed", body | {"truncate": "END"}))
    assert json.loads(answer)["meta"]["warnings"] == ["The end of these texts was cut off: 1."]
    status, _, answer = service.exchange(cohere("/v2/embed", body | {"truncate": "NONE"}))
    assert status == 400
    assert json.loads(answer)["message"].startswith("Text 1: ")


def test_version_1_as_old_sdks_send_it(
    embedded: Callable[..., NDArray[np.float32]], service: Any
) -> None:
    # cohere.Client(base_url=...).embed and langchain-cohere.
    body: dict[str, Any] = {"texts": ["a", "b"], "model": MODEL, "truncate": "END"}
    for kind, role in ((None, "document"), ("search_query", "query")):
        for path in ("/v1/embed", "/base/v1/embed"):
            status, _, answer = service.exchange(cohere(path, body | {"input_type": kind}))
            fields = json.loads(answer)
            assert (status, fields["response_type"]) == (200, "embeddings_floats")
            expected = embedded(["a", "b"], role)
            assert np.abs(np.float32(fields["embeddings"]) - expected).max() < 1e-6
    answer = service.exchange(cohere("/v1/embed", body | {"embedding_types": ["float"]}))[2]
    fields = json.loads(answer)
    assert fields["response_type"] == "embeddings_by_type"
    assert len(fields["embeddings"]["float"]) == 2
