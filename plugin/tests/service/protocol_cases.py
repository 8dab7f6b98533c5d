"""Requests of all protocols: bodies for one text, and the bytes that databases really send.

The bytes were recorded from Weaviate 1.39.0 (Go's net/http) and Qdrant 1.19.0 (reqwest). Weaviate
sends no Content-Type, escapes ``<>&`` and has the answer's fields in its request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DIMENSION = 16
MODEL = "lusifer-tiny-test"

PROTOCOLS: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[[Any], str]]] = {
    "weaviate": ("/vectors", lambda text: {"text": text}, lambda body: body["error"]),
    "cohere": (
        "/v2/embed",
        lambda text: {"texts": [text], "model": MODEL, "input_type": "search_document"},
        lambda body: body["message"],
    ),
    "qdrant": (
        "/qdrant",
        lambda text: {
            "inputs": [{"data": text, "data_type": "text", "model": MODEL, "options": None}],
            "inference": "update",
            "token": None,
        },
        lambda body: body["error"],
    ),
    "openai": (
        "/v1/embeddings",
        lambda text: {"input": text, "model": MODEL},
        lambda body: body["error"]["message"],
    ),
    "tei": ("/embed", lambda text: {"inputs": text}, lambda body: body["error"]),
    "ollama": (
        "/api/embed",
        lambda text: {"input": text, "model": MODEL},
        lambda body: body["error"],
    ),
}
"""Protocol -> path, body for one text, message of an error's body."""

VECTOR_OF: dict[str, Callable[[Any], list[float]]] = {
    "weaviate": lambda body: body["vector"],
    "cohere": lambda body: body["embeddings"]["float"][0],
    "qdrant": lambda body: body["embeddings"][0],
    "openai": lambda body: body["data"][0]["embedding"],
    "tei": lambda body: body[0],
    "ollama": lambda body: body["embeddings"][0],
}
"""Protocol -> vector of the answer for one text."""

INPUT = {"data": "a", "data_type": "text", "model": MODEL}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def body_of(protocol: str, text: str) -> bytes:
    return json.dumps(PROTOCOLS[protocol][1](text)).encode()


WEAVIATE_HEAD = """\
POST {path} HTTP/1.1
Host: 127.0.0.1:8000
User-Agent: Go-http-client/1.1
Content-Length: {length}
Accept-Encoding: gzip

"""
COHERE_HEAD = """\
POST {path} HTTP/1.1
Host: 127.0.0.1:8000
User-Agent: Go-http-client/1.1
Content-Length: {length}
Authorization: Bearer any
Content-Type: application/json
Request-Source: unspecified:weaviate
Accept-Encoding: gzip

"""
QDRANT_HEAD = """\
POST {path} HTTP/1.1
content-type: application/json
accept: */*
user-agent: Qdrant/1.19.0
host: 127.0.0.1:8000
content-length: {length}

"""


def _request(head: str, path: str, content: str) -> bytes:
    raw = content.encode()
    return head.format(path=path, length=len(raw)).replace("\n", "\r\n").encode() + raw


def weaviate(path: str, content: str) -> bytes:
    """Return a request as Weaviate's module text2vec-transformers sends it."""
    return _request(WEAVIATE_HEAD, path, content)


def cohere(path: str, body: dict[str, Any]) -> bytes:
    """Return a request as Weaviate's module text2vec-cohere sends it."""
    return _request(COHERE_HEAD, path, json.dumps(body, separators=(",", ":")))


def qdrant(path: str, content: str) -> bytes:
    """Return a request as Qdrant sends it."""
    return _request(QDRANT_HEAD, path, content)


def qdrant_body(texts: list[str], inference: str, options: str = "null", model: str = MODEL) -> str:
    inputs = ",".join(
        f'{{"data":{json.dumps(text, ensure_ascii=False)},"data_type":"text","model":"{model}",'
        f'"options":{options}}}'
        for text in texts
    )
    return f'{{"inputs":[{inputs}],"inference":"{inference}","token":null}}'
