"""Errors and addresses, without a server; messages are recorded from Weaviate 1.39.0."""

from __future__ import annotations

import pytest

from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    StorageFullError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    UnauthorizedError,
)

pytest.importorskip("weaviate")
from lusifer.weaviate.connection import client_errors, connect, refused

ASK = "explorer: get class: vectorize search vector: vectorize keywords: remote client vectorize: "
MESSAGES = [
    (
        f"{ASK}fail with status 504: upstream timed out",
        StoreUnavailableError,
        "lusifer serve and its log",
    ),
    (
        f"{ASK}fail with status 503: failed with status: 503 error: busy",
        StoreBusyError,
        "Send less",
    ),
    (f"{ASK}fail with status 422: ", InvalidInputError, "Look at the text"),
    (f"{ASK}fail with status 401: The API key is missing.", UnauthorizedError, "COHERE_APIKEY"),
    (
        f"{ASK}failed to parse vectorization response (status 200): invalid character '<' looking for "
        "beginning of value",
        CollectionMismatchError,
        "Start lusifer serve at that address",
    ),
    (
        f'{ASK}send POST request: Post "http://127.0.0.1:9/vectors": dial tcp 127.0.0.1:9: connect: '
        "connection refused",
        StoreUnavailableError,
        "nothing is lost",
    ),
    (
        f"{ASK}connection to Cohere failed with status: 504 error: x",
        StoreUnavailableError,
        "lusifer serve",
    ),
    ("connection to Cohere failed with status: 503 error: busy", StoreBusyError, "Send less"),
    (
        "connection to Cohere failed with status: 400 error: bad",
        InvalidInputError,
        "Look at the text",
    ),
    (
        f"{ASK}Cohere API Key: no api key found neither in request header: X-Cohere-Api-Key nor in "
        "environment variable under COHERE_APIKEY",
        UnauthorizedError,
        "COHERE_APIKEY",
    ),
    (
        f'{ASK}send POST request: Post "http://127.0.0.1:1/vectors": dial tcp 127.0.0.1:1: refusing to dial '
        'internal address "127.0.0.1:1"',
        CollectionMismatchError,
        "MODULES_VALIDATE_BASE_URL",
    ),
    (
        "module 'text2vec-cohere': baseURL must use HTTPS",
        CollectionMismatchError,
        "MODULES_VALIDATE_BASE_URL",
    ),
    (
        'target vector "lusifer": vectorizer: no module with name "text2vec-transformers" present',
        CollectionMismatchError,
        "ENABLE_MODULES=text2vec-transformers",
    ),
    (
        "the Japanese tokenizer is not enabled; set 'ENABLE_TOKENIZER_KAGOME_JA' to 'true' to enable",
        CollectionMismatchError,
        "ENABLE_TOKENIZER_KAGOME_JA=true",
    ),
    ("tenant not active: 'a'", StoreError, "collection.tenants.activate('a')"),
    ("could not find class Tr in schema", IndexNotFoundError, "lusifer weaviate setup"),
    (
        "store is read-only due to: disk usage too high",
        StorageFullError,
        "DISK_USE_READONLY_PERCENTAGE",
    ),
    (
        "knn search: distance between entrypoint and query node: 16 vs 8: vector lengths don't match",
        CollectionMismatchError,
        "lusifer doctor weaviate",
    ),
    ("leader not found", StoreUnavailableError, "run again"),
    (
        "invalid date property 'when' on class 'A': requires a string with a RFC3339 formatted date, but the "
        "given value is 'no date'",
        InvalidInputError,
        "See what the collection takes",
    ),
]


@pytest.mark.parametrize(
    ("message", "kind", "step"), MESSAGES, ids=[each[0][-40:] for each in MESSAGES]
)
def test_every_message_of_the_server_becomes_an_error_with_a_next_step(
    message: str, kind: type[LusiferError], step: str
) -> None:
    error = refused(message, "Articles")
    assert type(error) is kind
    assert step in error.next_step
    assert error.retryable == issubclass(kind, StoreBusyError | StoreUnavailableError)


def test_errors_of_the_client_become_ours() -> None:
    import grpc
    import httpx
    from weaviate.exceptions import (
        UnexpectedStatusCodeError,
        WeaviateBatchError,
        WeaviateConnectionError,
        WeaviateInsertManyAllFailedError,
    )

    def answer(status: int, message: str) -> Exception:
        body = {"error": [{"message": message}]}
        return UnexpectedStatusCodeError("It failed.", httpx.Response(status, json=body))

    for raised, kind, said in (
        (
            answer(401, "anonymous access not enabled"),
            UnauthorizedError,
            "anonymous access not enabled",
        ),
        (answer(404, "?"), IndexNotFoundError, "no collection 'A'"),
        (answer(422, 'module "x" is "off"'), InvalidInputError, "Weaviate refused: "),
        (answer(500, "boom"), StoreUnavailableError, "Weaviate request failed: boom"),
        (
            WeaviateConnectionError("Connection to Weaviate failed."),
            StoreUnavailableError,
            "failed",
        ),
        (httpx.ConnectError("refused"), StoreUnavailableError, "connection: refused"),
        (grpc.RpcError("gone"), StoreUnavailableError, "gone"),
        (
            WeaviateBatchError(
                "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n"
                '\tdetails = "Socket closed"\n>'
            ),
            StoreUnavailableError,
            "Weaviate request failed: Socket closed (UNAVAILABLE)",
        ),
        (
            WeaviateInsertManyAllFailedError(
                "Here is the set of all errors: tenant not active: 'a'"
            ),
            StoreError,
            "tenant a",
        ),
    ):
        with pytest.raises(kind) as caught, client_errors("A"):
            raise raised
        assert said in caught.value.message
        assert "Here is the set" not in caught.value.message
    with pytest.raises(ZeroDivisionError), client_errors("A"):
        _ = 1 / 0


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://x:port", "http://", ""])
def test_addresses_that_can_not_be_used(url: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be used"):
        connect(url)
