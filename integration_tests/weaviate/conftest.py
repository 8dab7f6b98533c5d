"""What the tests of Weaviate share: a fresh collection's name, clients, and our service behind the
gate."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate_server import RunningWeaviate, weaviate_binary
from plugin.tests.conftest import make_bundle

from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine


@pytest.fixture
def gate(weaviate_gate: InferenceGate) -> Iterator[InferenceGate]:
    yield weaviate_gate
    weaviate_gate.reset()


@pytest.fixture
def name() -> str:
    return f"Test{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(weaviate_server: RunningWeaviate, gate: InferenceGate, name: str) -> Iterator[Any]:
    made = weaviate_server.client()
    yield made
    if made.is_connected():
        made.collections.delete(name)
        made.close()


@pytest.fixture(scope="session")
def own_weaviate(
    tmp_path_factory: pytest.TempPathFactory, weaviate_gate: InferenceGate
) -> Iterator[RunningWeaviate]:
    """A server that tests restart and kill as they like; a test has it ``run_with`` what it needs."""
    server = RunningWeaviate(weaviate_binary(), tmp_path_factory.mktemp("own"), weaviate_gate.url)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    base = tmp_path_factory.mktemp("tiny")
    make_bundle(base / "staging", base / "bundle")
    return Bundle.open(base / "bundle")


@pytest.fixture
def tiny(bundle: Bundle) -> Vectorizer:
    return Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))


@pytest.fixture
def serve(bundle: Bundle, gate: InferenceGate, start_service: Any) -> Callable[[], Any]:
    """Starts our service with the tiny model behind the gate."""

    def start() -> Any:
        service = start_service(Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))).ready()
        gate.forward_to = service.url
        return service

    return start
