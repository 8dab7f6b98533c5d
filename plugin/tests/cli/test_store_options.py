from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lusifer.cli.store_options import StoreOptions, check_one_place, connected
from lusifer.embedded.store import EmbeddedStore
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import IndexNotFoundError, InvalidInputError
from lusifer.qdrant import connection
from lusifer.qdrant.keywords import KeywordOptions

if TYPE_CHECKING:
    from lusifer.bundle.format import Bundle

FOLDER = Path("index")
QDRANT = "http://localhost:6333"
WEAVIATE = "http://localhost:8080"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"qdrant": QDRANT, "weaviate": WEAVIATE, "collection": "c"},
            "Both --qdrant and --weaviate are given.",
        ),
        ({"qdrant": QDRANT}, "A server is named, but no collection on it."),
        ({"weaviate": WEAVIATE}, "A server is named, but no collection on it."),
        ({"tenant": "t"}, "--tenant is given without --weaviate."),
        (
            {"qdrant": QDRANT, "collection": "c", "tenant": "t"},
            "--tenant is given without --weaviate.",
        ),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        StoreOptions(FOLDER, **options)
    assert caught.value.message == message
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("options", "kind", "address", "name"),
    [
        ({}, "embedded", str(FOLDER.resolve()), "index"),
        ({"collection": "c"}, "embedded", str(FOLDER.resolve()), "index/c"),
        ({"qdrant": QDRANT, "collection": "c"}, "qdrant", QDRANT, f"c on {QDRANT}"),
        ({"weaviate": WEAVIATE, "collection": "C"}, "weaviate", WEAVIATE, f"C on {WEAVIATE}"),
    ],
)
def test_the_store_that_is_named(
    options: dict[str, Any], kind: str, address: str, name: str
) -> None:
    store = StoreOptions(FOLDER, **options)
    assert (store.kind, store.address, store.name) == (kind, address, name)


def test_a_folder_is_its_own_index_without_a_collection() -> None:
    assert StoreOptions(FOLDER).folder == FOLDER
    assert StoreOptions(FOLDER, qdrant=QDRANT, collection="c").folder is None


def test_a_folder_becomes_an_index(bundle: Bundle, tmp_path: Path) -> None:
    store = StoreOptions(tmp_path / "index")
    with pytest.raises(IndexNotFoundError):
        store.stored()
    with Vectorizer(bundle, FakeEngine(16)) as embedder:
        with pytest.raises(IndexNotFoundError):
            store.open(embedder)
        with store.open_or_create(embedder, None) as created:
            assert isinstance(created, EmbeddedStore)
        assert store.stored() == (embedder.fingerprint, 16)
        with store.open(embedder) as opened:
            assert opened.count() == 0


def test_a_server_gets_no_keywords_afterwards(bundle: Bundle) -> None:
    store = StoreOptions(FOLDER, qdrant=QDRANT, collection="c")
    with (
        Vectorizer(bundle, FakeEngine(16)) as embedder,
        pytest.raises(InvalidInputError) as caught,
    ):
        store.open_or_create(embedder, KeywordOptions())
    assert caught.value.message == "A collection on a server gets its keywords when it is created."


@pytest.mark.parametrize(
    ("url", "folder", "message"),
    [
        (None, None, "Neither a server nor a folder is named."),
        (QDRANT, FOLDER, "Both a server and a folder are named."),
    ],
)
def test_one_place_is_needed(url: str | None, folder: Path | None, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_one_place(url, folder)
    assert caught.value.message == message


def test_one_place_is_enough() -> None:
    check_one_place(QDRANT, None)
    check_one_place(None, FOLDER)


def test_a_client_is_closed_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    client, asked = Client(), []

    def connect(url: str, **options: Any) -> Client:
        asked.append((url, options))
        return client

    monkeypatch.setattr(connection, "connect_by_environment", connect)
    with pytest.raises(ValueError, match="wrong"), connected(QDRANT, grpc=True, timeout_s=30):
        raise ValueError("wrong")
    assert client.closed == 1
    assert asked == [(QDRANT, {"grpc": True, "timeout_s": 30})]
