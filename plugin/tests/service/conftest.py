"""Services behind a real uvicorn, on the tiny bundle and a fake engine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.service.protocol_cases import DIMENSION

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    import numpy as np
    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle


class GatedEngine(FakeEngine):
    """An engine whose calls wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        self.sizes.append(len(input_ids))
        self.entered.set()
        assert self.gate.wait(120)
        return super().run(input_ids, attention_mask)


@pytest.fixture
def serve(bundle: Bundle, start_service: Any) -> Callable[..., Any]:
    """Start a ready service on an engine, by default the fake one, with settings."""

    def start(engine: FakeEngine | None = None, **settings: Any) -> Any:
        vectorizer = Vectorizer(bundle, engine or FakeEngine(DIMENSION))
        return start_service(vectorizer, **settings).ready()

    return start


@pytest.fixture
def gated_engine() -> GatedEngine:
    """Make an engine with a closed gate."""
    return GatedEngine()


@pytest.fixture
def serve_gated(gated_engine: GatedEngine, serve: Callable[..., Any]) -> Callable[..., Any]:
    """Start a ready service on ``gated_engine``, whose gate is closed from then on."""

    def start(**settings: Any) -> Any:
        gated_engine.gate.set()
        service = serve(gated_engine, **settings)
        gated_engine.gate.clear()
        gated_engine.entered.clear()
        return service

    return start


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(DIMENSION)


@pytest.fixture
def service(engine: FakeEngine, serve: Callable[..., Any]) -> Any:
    return serve(engine)


@pytest.fixture
def http(service: Any) -> httpx.Client:
    client: httpx.Client = service.http
    return client


@pytest.fixture
def embedded(bundle: Bundle) -> Callable[..., NDArray[np.float32]]:
    """Embed texts in a role with the library, on the fake engine, with options."""

    def embed(texts: list[str], role: Any = "document", **options: Any) -> NDArray[np.float32]:
        return Vectorizer(bundle, FakeEngine(DIMENSION), **options).embed(texts, role).vectors

    return embed
