from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from lusifer.errors import RequestTooLargeError
from lusifer.service.protocols.common import ROLES, Body, check_count, texts_of, to_base64


def test_one_text_is_a_list_of_one() -> None:
    assert texts_of("a") == ["a"]
    assert texts_of(["a", "b"]) == ["a", "b"]
    assert texts_of([]) == []


def test_more_texts_than_the_api_allows_are_refused() -> None:
    check_count(["a"] * 96, 96, "Cohere")
    with pytest.raises(RequestTooLargeError, match="has 97 texts, Cohere's API takes 96"):
        check_count(["a"] * 97, 96, "Cohere")


def test_base64_is_of_little_endian_float32() -> None:
    assert to_base64(np.array([1.0, -2.0], dtype=np.float32)) == "AACAPwAAAMA="
    assert to_base64(np.array([1.0, -2.0], dtype=">f4")) == "AACAPwAAAMA="


def test_words_for_roles() -> None:
    assert {word for word, role in ROLES.items() if role == "query"} == {
        "query",
        "search",
        "search_query",
    }


def test_a_body_converts_no_value() -> None:
    class Text(Body):
        text: str

    with pytest.raises(ValidationError):
        Text.model_validate_json('{"text": 7}')
