from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.service.protocol_cases import DIMENSION, MODEL, weaviate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lusifer.types import Role


@pytest.mark.parametrize("path", ["/vectors", "/vectors/", "//vectors", "///vectors//"])
@pytest.mark.parametrize(("task", "role"), [("passage", "document"), ("query", "query")])
def test_weaviates_request_as_its_go_client_writes_it(
    embedded: Callable[..., NDArray[np.float32]], service: Any, path: str, task: str, role: Role
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
    assert (fields["dim"], fields["dims"], fields["truncated"]) == (DIMENSION, DIMENSION, False)
    assert np.abs(np.float32(fields["vector"]) - embedded(["Caf<é> & 猫"], role)[0]).max() < 1e-6


def test_weaviate_before_1_31_sends_no_role_and_documents_are_meant(
    embedded: Callable[..., NDArray[np.float32]], service: Any
) -> None:
    body = (
        '{"text":"a","dims":0,"vector":null,"error":"","config":{"pooling_strategy":"masked_mean"}}'
    )
    _, _, answer = service.exchange(weaviate("/vectors", body))
    assert (
        np.abs(np.float32(json.loads(answer)["vector"]) - embedded(["a"], "document")[0]).max()
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
def test_weaviate_gets_an_error_and_no_vector(service: Any, text: str, word: str) -> None:
    status, _, answer = service.exchange(weaviate("/vectors", f'{{"text":"{text}","config":{{}}}}'))
    fields = json.loads(answer)
    assert status == 400
    assert isinstance(fields["error"], str)
    assert word in fields["error"]
    assert "vector" not in fields


def test_weaviates_probes(service: Any) -> None:
    for path in ("/.well-known/ready", "/.well-known/live"):
        status, _, body = service.exchange(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert (status, body) == (204, b"")
    status, _, body = service.exchange(
        b"GET /meta HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    assert status == 200
    assert json.loads(body)["model"] == MODEL
