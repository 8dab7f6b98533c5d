from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import InvalidDimensionError, InvalidInputError
from lusifer.stores.payloads import (
    check_document,
    check_rows,
    check_vectors,
    content_sha256,
    document_uuid,
    payload_bytes,
)
from lusifer.types import Document


def test_the_id_of_a_point_never_changes() -> None:
    """Every collection that exists has points with these ids."""
    assert document_uuid("doc/1") == "0303d72c-b2f5-591d-8939-1af6715cab8b"


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_of_points_are_uuids_and_differ_as_the_documents_do(first: str, second: str) -> None:
    assert uuid.UUID(document_uuid(first)).version == 5
    assert (document_uuid(first) == document_uuid(second)) == (first == second)


@pytest.mark.parametrize(
    "document",
    [
        Document("", "text"),
        Document(" ", "text"),
        Document("a\x00", "text"),
        Document(3, "text"),  # type: ignore[arg-type]
        Document("a", ""),
        Document("a", "x", {"n": 2**63}),
        Document("a", "x", {"n": float("nan")}),
        Document("a", "x", {"deep": [{"n": float("inf")}]}),
        Document("a", "x", {"n": "\ud800"}),
        Document("a", "x", {"\ud800": 1}),
        Document("a", "x", {1: "n"}),  # type: ignore[dict-item]
        Document("a", "x", {"n": {1, 2}}),  # type: ignore[dict-item]
        Document("a", "x", ["list"]),  # type: ignore[arg-type]
    ],
)
def test_documents_that_would_not_come_back_are_refused(document: Document) -> None:
    with pytest.raises(InvalidInputError):
        check_document(document)


def test_content_hash_is_by_value() -> None:
    first = content_sha256(Document("a", "x", {"k": 1, "l": [1, 2]}))
    assert first == content_sha256(Document("b", "x", {"l": [1, 2], "k": 1}))
    assert first != content_sha256(Document("a", "x", {"k": 1, "l": [2, 1]}))
    assert content_sha256(Document("a", "x", {"k": "1"})) != content_sha256(
        Document("a", "x", {"k": 1})
    )


def test_the_size_of_a_payload_is_that_of_its_utf_8() -> None:
    assert payload_bytes({"a": "é"}) == len('{"a": "é"}'.encode()) == 11


def test_vectors_that_can_be_stored() -> None:
    good = np.array([[1, 0], [0, 3]], dtype=np.float32)
    check_rows(2, good, 2, "the collection docs")
    with pytest.raises(InvalidInputError) as caught:
        check_rows(3, good, 2, "the collection docs")
    assert str(caught.value) == (
        "Got 3 documents and 2 vectors. Give one vector for each document."
    )
    with pytest.raises(InvalidDimensionError) as caught:
        check_vectors(good, 3, "the collection docs")
    assert str(caught.value) == (
        "Vectors have shape (2, 2), the collection docs takes (N, 3). "
        "Embed with dimension 3, or index again."
    )
    with pytest.raises(InvalidDimensionError):
        check_vectors(good[0], 2, "the collection docs")
    for bad, fault in ((0, "only zeros in 1 of 2"), (np.inf, "NaN or infinity in 1 of 2")):
        wrong = good.copy()
        wrong[1] = bad
        with pytest.raises(
            InvalidInputError, match=f"docs have {fault} vectors, first in vector 1"
        ):
            check_vectors(wrong, 2, "the collection docs")
