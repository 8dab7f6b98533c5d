from __future__ import annotations

import pytest
from pydantic import ValidationError

from lusifer.errors import FingerprintMismatchError, InvalidDimensionError
from lusifer.stores.metadata import CollectionMetadata

METADATA = CollectionMetadata(
    collection="docs", fingerprint="sha256:a", model="small", dimension=384
)


def test_the_same_model_passes() -> None:
    METADATA.check(fingerprint="sha256:a", model="small", dimension=384)
    METADATA.check(fingerprint="sha256:a", model="another name")


def test_another_model_is_refused() -> None:
    with pytest.raises(FingerprintMismatchError) as caught:
        METADATA.check(fingerprint="sha256:b", model="large", dimension=384)
    assert str(caught.value) == (
        "The collection docs holds vectors of small (sha256:a), the model in use is large (sha256:b). "
        "Use the model it was made with, or index into a new collection and switch the alias."
    )


def test_another_dimension_is_refused() -> None:
    with pytest.raises(InvalidDimensionError) as caught:
        METADATA.check(fingerprint="sha256:a", model="small", dimension=128)
    assert str(caught.value) == (
        "The collection docs holds vectors of dimension 384, the model in use makes 128. "
        "Load the model with dimension=384."
    )


def test_fields_of_later_versions_are_left_out_and_broken_ones_refused() -> None:
    fields = {"collection": "c", "fingerprint": "f", "model": "m", "dimension": 2}
    assert CollectionMetadata.model_validate(fields | {"new": 1}).model_dump() == {
        "schema_version": 1,
        "collection": "c",
        "fingerprint": "f",
        "model": "m",
        "dimension": 2,
        "vector_name": "lusifer",
    }
    for broken in ({"schema_version": 2}, {"fingerprint": ""}, {"dimension": 0}):
        with pytest.raises(ValidationError):
            CollectionMetadata.model_validate(fields | broken)
