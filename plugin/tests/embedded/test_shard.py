from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import qdrant_edge as edge

from lusifer.embedded.layout import IndexFile, write_flushed
from lusifer.embedded.shard import Shard
from lusifer.errors import IndexCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = IndexFile(fingerprint="f", dimension=2, model="m", vector_name="own")
KEYS = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(4)]


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    """Yield a shard of three points, the last one without a vector."""
    made = Shard.create(tmp_path, INDEX, "none")
    made.upsert(
        [
            edge.Point(KEYS[0], {"own": [1.0, 0.0]}, {"id": "a", "n": 1}),
            edge.Point(KEYS[1], {"own": [0.0, 1.0]}, {"id": "b", "n": 2}),
            edge.Point(KEYS[2], {}, {"id": "c", "n": 3}),
        ]
    )
    yield made
    made.close()


def test_creation_writes_the_index_file_last(shard: Shard) -> None:
    assert (shard.path / "index.json").exists()
    assert (shard.path / "shard").is_dir()
    assert not (shard.path / "shard.partial").exists()


def test_counts(shard: Shard) -> None:
    lacking = edge.Filter(must_not=[edge.HasVectorCondition("own")])
    assert (shard.count(), shard.count(lacking)) == (3, 1)


def test_reading_goes_on_at_the_id_that_follows(shard: Shard) -> None:
    first, following = shard.read(None, 2, fields=["id"])
    assert first == {KEYS[0]: {"id": "a"}, KEYS[1]: {"id": "b"}}
    assert following == KEYS[2]
    assert shard.read(following, 2) == ({KEYS[2]: {"id": "c", "n": 3}}, None)
    assert shard.read(KEYS[3], 2) == ({}, None)


def test_points_that_exist_are_retrieved(shard: Shard) -> None:
    found = shard.retrieve(KEYS[1:], "own", fields=["n"], vectors=True)
    assert set(found) == {KEYS[1], KEYS[2]}
    payload, vector = found[KEYS[1]]
    assert payload == {"n": 2}
    assert np.array_equal(vector, np.array([0, 1], dtype=np.float32))  # type: ignore[arg-type]
    assert found[KEYS[2]] == ({"n": 3}, None)
    assert shard.retrieve(KEYS[:1], "own", fields=False, vectors=False) == {KEYS[0]: ({}, None)}
    assert [str(record.id) for record in shard.records(KEYS[2:], fields=False)] == [KEYS[2]]


def test_deleted_points_are_gone(shard: Shard) -> None:
    shard.delete([KEYS[0]])
    assert list(shard.read(None, 9)[0]) == KEYS[1:3]


def test_lost_documents_are_damage(shard: Shard) -> None:
    shard.flush()
    shard.close()
    write_flushed(shard.path, 3)
    Shard.load(shard.path).close()
    write_flushed(shard.path, 4)
    with pytest.raises(IndexCorruptError) as caught:
        Shard.load(shard.path)
    assert caught.value.message == (
        f"The index {shard.path} is damaged: it has 3 documents, at its last flush it had 4."
    )


def test_a_closed_shard_refuses_to_work(shard: Shard) -> None:
    shard.check_open()
    shard.close()
    shard.close()
    assert not shard.is_open
    for call in (shard.check_open, shard.count, shard.flush, shard.optimize):
        with pytest.raises(StoreError, match=r"is closed\. Open it again\.$"):
            call()
