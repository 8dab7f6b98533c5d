"""Searches with a model and through the server, without either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plugin.tests.weaviate.fakes import METADATA, make_config

from lusifer.errors import FingerprintMismatchError, InvalidDimensionError, InvalidTextError
from lusifer.types import SearchOptions

pytest.importorskip("weaviate")
import lusifer.weaviate.search as searching


class Collections:
    """A server with the collection ``A``, which has an alias and tenants."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.config = SimpleNamespace(get=lambda: make_config(METADATA.in_description()))

    def get(self, name: str) -> Any:
        self.opened.append(name)
        return self

    def exists(self) -> bool:
        return True

    def with_tenant(self, tenant: str) -> Any:
        return f"tenant {tenant}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record the searches of an open collection."""
    calls: list[tuple[Any, ...]] = []

    def find(handle: Any, config: Any, *rest: Any) -> list[Any]:
        calls.append((handle, *rest))
        return []

    monkeypatch.setattr(searching, "find", find)
    return calls


def embedder(fingerprint: str = METADATA.fingerprint, dimension: int = 16) -> Any:
    vector = np.ones(dimension, dtype=np.float32)
    return SimpleNamespace(
        fingerprint=fingerprint,
        model_name="small",
        dimension=dimension,
        embed_query=lambda text: SimpleNamespace(vector=vector),
    )


def client(collections: Collections) -> Any:
    return SimpleNamespace(collections=collections)


def test_a_search_stays_with_the_collection_that_was_checked(asked: list[Any]) -> None:
    collections = Collections()
    searching.search(client(collections), "Alias", "Wo?", embedder(), limit=2, tenant="t")
    assert collections.opened == ["Alias", "A"]
    handle, metadata, vector, limit, options = asked[0]
    assert (handle, metadata, limit, options) == ("tenant t", METADATA, 2, SearchOptions())
    assert vector.tolist() == [1.0] * 16


def test_another_model_is_refused_before_anything_is_embedded(asked: list[Any]) -> None:
    with pytest.raises(FingerprintMismatchError, match=r"the model in use is small \(sha256:b\)"):
        searching.search(client(Collections()), "A", "Wo?", embedder("sha256:b"))
    with pytest.raises(InvalidDimensionError, match="of dimension 16, the model in use makes 8"):
        searching.search(client(Collections()), "A", "Wo?", embedder(dimension=8))
    assert asked == []


@pytest.mark.parametrize(
    ("hybrid", "options", "keywords"),
    [
        (False, None, None),
        (True, None, "Wo?"),
        (True, SearchOptions(keywords="cat"), "cat"),
        (False, SearchOptions(keywords="cat"), "cat"),
    ],
)
def test_the_server_is_asked_with_the_text(
    asked: list[Any], hybrid: bool, options: SearchOptions | None, keywords: str | None
) -> None:
    collections = Collections()
    searching.ask_server(client(collections), "Alias", "Wo?", hybrid=hybrid, options=options)
    handle, metadata, query, limit, given = asked[0]
    assert (handle, metadata, query, limit) == (collections, METADATA, "Wo?", 10)
    assert given.keywords == keywords


def test_a_text_that_can_not_be_embedded_is_refused_at_once(asked: list[Any]) -> None:
    collections = Collections()
    with pytest.raises(InvalidTextError):
        searching.ask_server(client(collections), "A", " ")
    assert (collections.opened, asked) == ([], [])
