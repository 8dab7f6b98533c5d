from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from lusifer.errors import FingerprintMismatchError, InvalidDimensionError, LusiferError
from lusifer.stores.metadata import CollectionMetadata, identity_of

METADATA = CollectionMetadata(
    collection="docs", fingerprint="sha256:a", model="small", dimension=384
)


def test_the_same_model_passes() -> None:
    METADATA.check(fingerprint="sha256:a", model="small", dimension=384)
    METADATA.check(fingerprint="sha256:a", model="another name")


@pytest.mark.parametrize(
    ("fingerprint", "dimension", "kind", "text"),
    [
        (
            "sha256:b",
            128,
            FingerprintMismatchError,
            "The collection docs holds vectors of small (sha256:a), the model in use is large "
            "(sha256:b). Use the model it was made with, or index into a new collection and switch "
            "the alias.",
        ),
        (
            "sha256:a",
            128,
            InvalidDimensionError,
            "The collection docs holds vectors of dimension 384, the model in use makes 128. Load "
            "the model with dimension=384.",
        ),
    ],
    ids=["model", "dimension"],
)
def test_another_model_or_dimension_is_refused(
    fingerprint: str, dimension: int, kind: type[LusiferError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        METADATA.check(fingerprint=fingerprint, model="large", dimension=dimension)
    assert str(caught.value) == text


def test_the_identity_of_a_model() -> None:
    embedder: Any = SimpleNamespace(fingerprint="sha256:a", model_name="small", dimension=384)
    assert identity_of(embedder) == {"fingerprint": "sha256:a", "model": "small", "dimension": 384}
    METADATA.check(**identity_of(embedder))


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
