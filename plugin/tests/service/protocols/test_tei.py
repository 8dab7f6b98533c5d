from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import DIMENSION, cohere

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle


def test_tei_refuses_a_long_text_unless_it_may_be_cut(service: Any) -> None:
    body = {"inputs": ["word " * 100]}
    status, _, answer = service.exchange(cohere("/embed", body))
    assert (status, json.loads(answer)["error_type"]) == (413, "validation")
    assert service.exchange(cohere("/embed", body | {"truncate": True}))[0] == 200


def test_tei_takes_any_wish_about_the_norm_which_is_one(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client
) -> None:
    for normalize in (True, False, None):
        answer = http.post("/embed", json={"inputs": ["a"], "normalize": normalize})
        assert answer.status_code == 200, answer.text
        assert np.abs(np.float32(answer.json()) - embedded(["a"])).max() < 1e-6


@pytest.mark.parametrize(
    "body",
    [
        # huggingface_hub, @huggingface/inference and Haystack, with the bare URL.
        {"inputs": "a"},
        {"inputs": ["a"], "truncate": True, "normalize": True},
        {"inputs": "a", "inference": None},
    ],
)
def test_huggingfaces_clients_post_to_the_bare_url(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client, body: dict[str, Any]
) -> None:
    answer = http.post("/", json=body)
    assert answer.status_code == 200, answer.text
    assert np.abs(np.float32(answer.json()) - embedded(["a"])).max() < 1e-6


def test_errors_at_the_bare_url_are_of_the_protocol_that_the_body_speaks(
    http: httpx.Client,
) -> None:
    answer = http.post("/", json={"inputs": "word " * 100})
    assert (answer.status_code, answer.json()["error_type"]) == (413, "validation")
    answer = http.post("/", json={"inputs": [], "inference": "update"})
    assert (answer.status_code, "error_type" in answer.json()) == (400, False)
    counted = http.get("/metrics").text
    for protocol, status in (("tei", 413), ("qdrant", 400)):
        name = "lusifer_request_duration_seconds_count"
        assert f'{name}{{protocol="{protocol}",status="{status}"}} 1.0' in counted


@pytest.mark.parametrize(
    ("operator", "automatic"), [("truncate", False), ("error", False), ("mean_of_windows", True)]
)
def test_info_tells_what_happens_to_a_long_text(
    bundle: Bundle, start_service: Any, operator: Any, automatic: bool
) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(DIMENSION), long_text=operator)
    service = start_service(vectorizer, long_text=operator).ready()
    info = service.http.get("/info").json()
    assert info["auto_truncate"] is automatic
    assert info["max_concurrent_requests"] == 2048
    answer = service.http.post("/embed", json={"inputs": "word " * 100})
    assert answer.status_code == (200 if automatic else 413)


def test_health_follows_readiness(bundle: Bundle, start_service: Any) -> None:
    service = start_service(Vectorizer(bundle, FakeEngine(DIMENSION))).ready()
    for path in ("/health", "/ping"):
        assert service.http.get(path).status_code == 200
    service.service.set_ready("The canary failed.")
    for path in ("/health", "/ping"):
        answer = service.http.get(path)
        assert (answer.status_code, answer.json()["error_type"]) == (503, "unhealthy")
