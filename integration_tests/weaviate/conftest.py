"""Fixtures of the tests of Weaviate: a fresh collection's name, clients, commands, and our service
behind the gate."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
from integration_tests.qdrant_server import InferenceGate
from integration_tests.weaviate_server import RunningWeaviate, weaviate_binary
from plugin.tests.conftest import make_bundle

from lusifer.bundle.format import Bundle
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine


class RunCommand(Protocol):
    """A function that runs ``lusifer`` and returns the exit code and the JSON lines it printed."""

    def __call__(self, *arguments: object) -> tuple[int, list[dict[str, Any]]]: ...


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
    """Provide a server that tests restart and kill; each test calls ``run_with`` for its settings."""
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
    """Provide a function that starts our service with the tiny model behind the gate."""

    def start() -> Any:
        service = start_service(Vectorizer(bundle, FakeEngine(bundle.manifest.dimension))).ready()
        gate.forward_to = service.url
        return service

    return start


@pytest.fixture
def run_command(weaviate_server: RunningWeaviate, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Provide a function that runs ``lusifer`` in this process, against the server of the tests."""
    from typer.testing import CliRunner

    from lusifer.cli.app import app

    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(weaviate_server.grpc_port))

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line]

    return run
