"""Messages as Weaviate 1.39.0 was recorded to write them, and the errors that they become."""

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
from lusifer.weaviate.refusals import refused

ASK = "explorer: get class: vectorize search vector: vectorize keywords: remote client vectorize: "
MESSAGES = [
    (
        'update prop-specific indices: property "place": insert into geo index: find and connect '
        "neighbors: at level 0: pick entrypoint at level beginning: global entrypoint repair: no "
        "valid entrypoint available",
        StoreUnavailableError,
        "run again",
    ),
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
