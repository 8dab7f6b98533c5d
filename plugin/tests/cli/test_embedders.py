from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer.cli.embedders import open_embedder, read_manifest
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_bundle_and_a_service_contradict_each_other(tiny_bundle: Path) -> None:
    with (
        pytest.raises(InvalidInputError) as caught,
        open_embedder(tiny_bundle, "http://127.0.0.1:9"),
    ):
        pass
    assert caught.value.message == "Both --bundle and --service are given."


def test_the_manifest_is_read_without_the_model(tiny_bundle: Path) -> None:
    manifest = read_manifest(tiny_bundle)
    assert (manifest.name, manifest.dimension) == ("lusifer-tiny-test", 16)


@pytest.mark.parametrize(
    ("dimension", "same_model", "expected"),
    [(None, True, 8), (None, False, 16), (4, True, 4)],
)
def test_vectors_get_the_stored_length_of_the_same_model(
    tiny_bundle: Path, dimension: int | None, same_model: bool, expected: int
) -> None:
    fingerprint = read_manifest(tiny_bundle).fingerprint if same_model else "sha256:other"
    with open_embedder(tiny_bundle, None, dimension=dimension, stored=(fingerprint, 8)) as embedder:
        assert embedder.dimension == expected
