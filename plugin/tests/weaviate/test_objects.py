"""Documents as objects, without a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.weaviate.fakes import METADATA

from lusifer.errors import InvalidInputError
from lusifer.types import Document
from lusifer.weaviate.objects import object_id, properties_of, storable_value
from lusifer.weaviate.queries import _plain

if TYPE_CHECKING:
    import uuid

JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_is_stored_as_it_is_or_refused(value: Any) -> None:
    try:
        stored = storable_value(Document("a", "b"), "field", value)
    except InvalidInputError as error:
        # A name with a quote in it is shown between the other kind.
        assert re.search(r"the field ['\"]field", error.message)
    else:
        assert stored == value
        assert _plain(stored) == value


@pytest.mark.parametrize(
    ("document_id", "expected"),
    [
        ("5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665", "5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665"),
        ("doc/1", "0303d72c-b2f5-591d-8939-1af6715cab8b"),
    ],
)
def test_the_uuid_of_a_document(document_id: str, expected: str) -> None:
    assert object_id(document_id) == expected


@given(st.uuids())
def test_each_spelling_of_a_uuid_is_an_id_of_its_own(given_id: uuid.UUID) -> None:
    canonical = str(given_id)
    spellings = {canonical, canonical.upper(), given_id.hex, f"{{{canonical}}}", given_id.urn}
    assert object_id(canonical) == canonical
    assert len({object_id(each) for each in spellings}) == len(spellings)


def test_properties_of_a_document() -> None:
    document = Document(
        "a", "the text", {"Title": "t", "none": None, "list": [1, 2.5], "deep": {"a": 1, "b": None}}
    )
    assert properties_of(document, METADATA) == {
        "text": "the text",
        "title": "t",
        "list": [1.0, 2.5],
        "deep": {"a": 1},
    }


@pytest.mark.parametrize("field", ["", "a.b", "ключ", "1a", "id", "Text", "document_sha256"])
def test_a_field_that_can_not_be_a_property_is_named(field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"the field '{field}' can't be a property of A"):
        properties_of(Document("a", "b", {field: 1}), METADATA)
