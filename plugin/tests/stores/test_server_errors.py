from __future__ import annotations

import pytest

from lusifer.errors import (
    CollectionMismatchError,
    IndexNotFoundError,
    InvalidInputError,
    LusiferError,
    MissingExtraError,
    StorageFullError,
    StoreBusyError,
    StoreUnavailableError,
    UnauthorizedError,
)
from lusifer.stores.server_errors import ServerErrors, missing_package

ERRORS = ServerErrors("Base", command="base", key_variable="BASE_KEY")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            missing_package("A server", "base-client", ImportError("no module"), extra="base"),
            MissingExtraError,
            "A server needs base-client: no module. Run pip install 'lusifer[base]'.",
        ),
        (
            ERRORS.unusable_address("x", port=6333),
            InvalidInputError,
            "Base's address 'x' can't be used. Write it as http://HOST:6333.",
        ),
        (
            ERRORS.not_found("docs"),
            IndexNotFoundError,
            "Base has no collection 'docs'. Make it with: lusifer base setup URL --collection docs",
        ),
        (
            ERRORS.not_found("docs", hint=", once."),
            IndexNotFoundError,
            "Base has no collection 'docs'. "
            "Make it with: lusifer base setup URL --collection docs, once.",
        ),
        (
            ERRORS.unauthorized("No key."),
            UnauthorizedError,
            "Base refuses the key: No key. Set BASE_KEY to a key that may do this.",
        ),
        (
            ERRORS.busy(" slow ", 2.5),
            StoreBusyError,
            "Base asks to slow down: slow Run again later: what was acknowledged is kept.",
        ),
        (
            ERRORS.full("no space"),
            StorageFullError,
            "Base's disk is full: no space. "
            "Free space there and run again; what was acknowledged is kept.",
        ),
        (
            ERRORS.unavailable("503: away"),
            StoreUnavailableError,
            "Base request failed (503: away). "
            "Look into Base's log, then run again: what was acknowledged is kept.",
        ),
        (
            ERRORS.wrong_vectors("docs", "dim 3"),
            CollectionMismatchError,
            "The collection docs does not take these vectors: dim 3 "
            "Examine it with: lusifer doctor base URL --collection docs",
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, LusiferError) else "",
)
def test_errors_of_a_server(error: LusiferError, kind: type[LusiferError], text: str) -> None:
    assert type(error) is kind
    assert str(error) == text


def test_a_busy_server_is_asked_again_when_it_says_or_after_a_second() -> None:
    assert ERRORS.busy("slow", 2.5).retry_after_s == 2.5
    assert ERRORS.busy("slow", 0).retry_after_s == 0
    assert ERRORS.busy("slow", None).retry_after_s == 1.0
