"""Writes to a collection under stress, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.weaviate.fakes import METADATA, FlakyCollection, make_config

from lusifer.errors import CollectionMismatchError, StoreUnavailableError
from lusifer.types import Document
from lusifer.weaviate.objects import object_id

pytest.importorskip("weaviate")
from lusifer.weaviate.store import WeaviateStore


def flaky_store(flaky: FlakyCollection, retry_for_s: float = 60) -> WeaviateStore:
    client = SimpleNamespace(
        collections=SimpleNamespace(get=lambda name: flaky), close=lambda: None
    )
    config = make_config(METADATA.in_description())
    return WeaviateStore(client, flaky, METADATA, config, retry_for_s=retry_for_s)  # type: ignore[arg-type]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("no_waiting")
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([None, "shutting down", "timeout"])),
        max_size=6,
    )
)
def test_whatever_a_batch_loses_is_written_in_the_end(script: list[Any]) -> None:
    """Error lists that lie in either direction, batches cut anywhere: what is read back decides."""
    flaky = FlakyCollection()
    flaky.script = list(script)
    documents = [Document(f"d{n}", f"text {n}", {"n": n}) for n in range(5)]
    flaky_store(flaky).upsert(documents, np.eye(16, dtype=np.float32)[:5])
    assert len(flaky.objects) == 5
    store = flaky_store(flaky)
    assert store.unchanged(documents) == {each.id for each in documents}


@pytest.mark.usefixtures("no_waiting")
def test_what_a_crash_left_without_index_is_written_again(caplog: pytest.LogCaptureFixture) -> None:
    """A real Weaviate 1.39 killed in a batch of 16 had 10 of it that no write made findable again."""
    flaky = FlakyCollection()
    documents = [Document(f"d{n}", f"text {n}") for n in range(5)]
    flaky.unindexed = {object_id("d1"), object_id("d3")}
    flaky_store(flaky).upsert(documents, np.eye(16, dtype=np.float32)[:5])
    assert not flaky.unindexed
    assert len(flaky.objects) == 5
    assert caplog.text.count("it is written again") == 2
    assert flaky_store(flaky).unchanged(documents) == {each.id for each in documents}


@pytest.mark.usefixtures("no_waiting")
def test_what_a_replica_has_late_is_not_deleted(caplog: pytest.LogCaptureFixture) -> None:
    class Late(FlakyCollection):
        """A filter finds what was written from the second reading on."""

        readings = 0

        def fetch_objects_by_ids(self, keys: list[str], **options: Any) -> Any:
            self.readings += 1
            return super().fetch_objects_by_ids(keys if self.readings > 1 else [], **options)

        def delete_by_id(self, key: str) -> bool:
            raise AssertionError(f"{key} was only late")

    late = Late()
    flaky_store(late).upsert([Document("a", "b")], np.eye(16, dtype=np.float32)[:1])
    assert set(late.objects) == {object_id("a")}
    assert "written again" not in caplog.text


@pytest.mark.usefixtures("no_waiting")
def test_other_vectors_read_before_a_crash_are_written_after_it() -> None:
    flaky = FlakyCollection()
    store = flaky_store(flaky)
    document = Document("a", "old")
    store.upsert([document], np.eye(16, dtype=np.float32)[:1])
    key = object_id("a")
    flaky.objects[key].vector["own"] = [1.0, 2.0]
    flaky.objects[key].references = None
    store._other_vectors = ["own"]
    store._marks = []
    written = flaky.insert_many

    def crash(batch: list[Any]) -> Any:
        flaky.insert_many = written  # type: ignore[method-assign]
        flaky.unindexed = {key}
        raise StoreUnavailableError("Weaviate is gone.", next_step="Start it.")

    flaky.insert_many = crash  # type: ignore[method-assign]
    store.upsert([Document("a", "new")], np.eye(16, dtype=np.float32)[:1])
    assert flaky.objects[key].properties["text"] == "new"
    assert flaky.objects[key].vector["own"] == [1.0, 2.0]


@pytest.mark.usefixtures("no_waiting")
def test_what_the_server_refuses_for_good_is_raised_at_once() -> None:
    flaky = FlakyCollection()
    flaky.script = [
        (
            1,
            "new node has a vector with length 8. Existing nodes have vectors with length 16: vector lengths",
        )
    ]
    with pytest.raises(CollectionMismatchError):
        flaky_store(flaky).upsert(
            [Document("a", "b"), Document("c", "d")], np.eye(16, dtype=np.float32)[:2]
        )
    assert flaky.calls == 1
    assert len(flaky.objects) == 1


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_stays_away_is_given_up_in_the_end() -> None:
    import httpx

    flaky = FlakyCollection()
    flaky.script = [(0, httpx.ConnectError("refused"))] * 3
    with pytest.raises(StoreUnavailableError, match="refused"):
        flaky_store(flaky, retry_for_s=0).upsert(
            [Document("a", "b")], np.eye(16, dtype=np.float32)[:1]
        )
    assert flaky.calls == 1


@pytest.mark.usefixtures("no_waiting")
def test_the_time_for_retries_starts_again_when_an_object_more_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky = FlakyCollection()
    flaky.script = [(1, "shutting down"), (1, None), (1, "timeout")]
    documents = [Document(f"d{n}", "text") for n in range(4)]
    flaky_store(flaky, retry_for_s=0).upsert(documents, np.eye(16, dtype=np.float32)[:4])
    assert (flaky.calls, len(flaky.objects)) == (4, 4)
    assert "2 of 3 objects are not there after they were written." in caplog.text
    assert "Writing the other 2 objects again." in caplog.text


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_never_indexes_is_given_up() -> None:
    class Unindexing(FlakyCollection):
        """A server of which no filter ever finds an object."""

        def fetch_objects_by_ids(self, keys: list[str], **_: Any) -> Any:
            return SimpleNamespace(objects=[])

    never = Unindexing()
    with pytest.raises(StoreUnavailableError, match="1 of 1 objects are not there"):
        flaky_store(never, retry_for_s=0).upsert(
            [Document("a", "b")], np.eye(16, dtype=np.float32)[:1]
        )
    assert never.calls == 1


@pytest.mark.usefixtures("no_waiting")
def test_requests_hold_200_objects_at_most() -> None:
    sizes: list[int] = []

    class Counting(FlakyCollection):
        """A collection that records how many objects a request has."""

        def insert_many(self, batch: list[Any]) -> Any:
            sizes.append(len(batch))
            return super().insert_many(batch)

    documents = [Document(f"d{n}", "text") for n in range(450)]
    rows = np.ones((450, 16), dtype=np.float32)
    flaky_store(Counting()).upsert(documents, rows)
    assert sizes == [200, 200, 50]
    sizes.clear()
    large = [Document(f"d{n}", "a" * 6 * 1024**2) for n in range(3)]
    flaky_store(Counting()).upsert(large, rows[:3])
    assert sizes == [2, 1]
