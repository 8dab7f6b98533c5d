from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lusifer.errors import InvalidInputError, StoreError, StoreUnavailableError
from lusifer.stores.base import ServerStore
from lusifer.stores.metadata import CollectionMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = CollectionMetadata(collection="docs-v1", fingerprint="sha256:a", model="m", dimension=4)


class Client:
    closed = 0

    def close(self) -> None:
        self.closed += 1


class FakeStore(ServerStore[Client, CollectionMetadata]):
    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise StoreUnavailableError("Away.", next_step="Wait.") from error
        except ValueError as error:
            raise InvalidInputError("Refused.", next_step="Fix it.") from error

    def ask(self, call: object) -> object:
        return self._ask(call)  # type: ignore[arg-type]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(Client(), METADATA, retry_for_s=60)


def test_a_store_says_what_its_metadata_says(store: FakeStore) -> None:
    assert (store.collection, store.fingerprint, store.dimension) == ("docs-v1", "sha256:a", 4)


def test_an_absent_server_is_asked_again(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    answers: list[object] = [ConnectionError(), ConnectionError(), 7]

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert store.ask(call) == 7
    assert len(pauses) == 2


def test_a_refusal_is_not_repeated(store: FakeStore) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise ValueError

    with pytest.raises(InvalidInputError, match="Refused"):
        store.ask(call)
    assert calls == [1]


def test_a_closed_store_asks_nothing(store: FakeStore) -> None:
    with store as entered:
        assert entered is store
        store.flush()
        store.optimize()
    assert store.client.closed == 1
    store.close()
    with pytest.raises(StoreError) as caught:
        store.ask(lambda: 1)
    assert str(caught.value) == "The collection docs-v1 is closed. Open it again."
