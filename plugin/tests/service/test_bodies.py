from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import MalformedRequestError, RequestTooLargeError
from lusifer.service.bodies import check_values, parse
from lusifer.service.protocols.cohere import EmbedRequest as CohereRequest
from lusifer.service.protocols.openai import EmbeddingsRequest
from lusifer.service.protocols.qdrant import InferenceRequest
from lusifer.service.protocols.tei import EmbedRequest as TeiRequest
from lusifer.service.settings import Settings

SETTINGS = Settings(maximum_texts=4)
MAXIMUM = 1024 + 16 * 4

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=40,
)


def count(value: Any) -> int:
    """Count commas and openings outside of strings."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(0, len(inner) - 1) + sum(map(count, inner))


def refused(raw: bytes) -> bool:
    try:
        check_values(raw, SETTINGS)
    except RequestTooLargeError:
        return True
    return False


@given(value=values, filling=st.integers(0, 2 * MAXIMUM), ascii_only=st.booleans())
def test_values_outside_of_strings_are_counted(value: Any, filling: int, ascii_only: bool) -> None:
    whole = [value, ',[{"\\' * 500, [0] * filling]
    raw = json.dumps(whole, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert refused(raw) == (count(whole) > MAXIMUM)


@pytest.mark.parametrize("raw", [b"[" * 5000, b'"' + b"," * 5000, b'{"a' * 3000, b"\\,[" * 3000])
def test_what_is_no_json_ends_too(raw: bytes) -> None:
    refused(raw)


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (InferenceRequest, '{"inference":"update","inputs":[%s]}'),
        (CohereRequest, '{"texts":[%s],"input_type":"search_query"}'),
        (
            CohereRequest,
            '{"texts":["a"],"input_type":"search_query","embedding_types":[%s]}',
        ),
        (EmbeddingsRequest, '{"model":"m","input":[%s]}'),
        (TeiRequest, '{"inputs":[%s]}'),
    ],
)
def test_a_list_ends_at_its_first_error(body: Any, raw: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        parse(body, (raw % ",".join("1" * 900)).encode())
    assert "more)" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_many_errors_are_only_counted() -> None:
    item = {"data": "a", "model": "m", "options": {f"option{n}": 1 for n in range(500)}}
    raw = json.dumps({"inference": "update", "inputs": [item]}).encode()
    with pytest.raises(MalformedRequestError, match="it has 500 errors"):
        parse(InferenceRequest, raw)
