from __future__ import annotations

import hashlib
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.service.cache_contract import (
    MIB,
    MakeCache,
    VectorCacheContract,
    embedding,
    key,
    same,
)
from plugin.tests.small_disk import small_disk

import lusifer
from lusifer.errors import SettingsError, StorageFullError
from lusifer.service.disk_cache import DiskCache

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = str(Path(lusifer.__file__).parents[1])


class TestDiskCache(VectorCacheContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeCache]:
        made: list[DiskCache] = []

        def build(maximum_bytes: int) -> DiskCache:
            made.append(DiskCache(tmp_path / f"{len(made)}.sqlite", maximum_bytes))
            return made[-1]

        yield build
        for cache in made:
            cache.close()


def test_a_disk_cache_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "cache.sqlite"
    first = DiskCache(path, MIB)
    first.put_many([(key(1), embedding(1))])
    first.close()
    first.close()
    assert first.get_many([key(1)]) == [None]
    first.put_many([(key(2), embedding(2))])
    again = DiskCache(path, MIB)
    assert same(again.get_many([key(1)])[0], embedding(1))
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        "vector = zeroblob(length(vector))",
        "vector = substr(vector, 1, 60)",
        "vector = CAST(x'ff00fe41' AS TEXT)",
        "vector = 17",
        "tokens = tokens + 1",
        "truncated = 1 - truncated",
        "check_sum = x'00'",
    ],
)
def test_a_damaged_row_is_a_miss_and_is_deleted(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.sqlite"
    cache = DiskCache(path, MIB)
    cache.put_many([(key(n), embedding(n)) for n in range(3)])
    database = sqlite3.connect(path)
    database.execute(f"UPDATE vectors SET {damage} WHERE key = ?", (key(1),))  # noqa: S608
    database.commit()
    hits = cache.get_many([key(n) for n in range(3)])
    assert [hit is not None for hit in hits] == [True, False, True]
    assert "1 damaged rows" in caplog.text
    assert database.execute("SELECT count(*) FROM vectors").fetchone() == (2,)
    database.close()
    cache.close()


def test_two_swapped_rows_are_both_found(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = DiskCache(path, MIB)
    cache.put_many([(key(n), embedding(n)) for n in range(2)])
    database = sqlite3.connect(path)
    for old, new in ((key(0), b"x"), (key(1), key(0)), (b"x", key(1))):
        database.execute("UPDATE vectors SET key = ? WHERE key = ?", (new, old))
    database.commit()
    database.close()
    assert cache.get_many([key(0), key(1)]) == [None, None]
    cache.close()


def test_damaged_pages_never_give_a_wrong_vector_or_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.sqlite"
    cache = DiskCache(path, MIB)
    cache.put_many([(key(n), embedding(n, 384)) for n in range(200)])
    cache.close()
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(15):
        spoiled = bytearray(whole)
        at = int(random.integers(100, len(whole) - 300))
        spoiled[at : at + 300] = random.bytes(300)
        path.write_bytes(spoiled)
        try:
            cache = DiskCache(path, MIB)
        except SettingsError:
            continue
        hits = cache.get_many([key(n) for n in range(200)])
        assert all(hit is None or same(hit, embedding(n, 384)) for n, hit in enumerate(hits))
        cache.put_many([(key(500), embedding(500))])
        cache.close()


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 500, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="can't be opened") as caught:
        DiskCache(path, MIB)
    assert "Remove the file" in caught.value.next_step


def test_places_that_can_not_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "cache.sqlite"):
        with pytest.raises(SettingsError, match="can't be opened"):
            DiskCache(path, MIB)
    with pytest.raises(SettingsError, match="too small"):
        DiskCache(tmp_path / "cache.sqlite", 1000)


def test_another_database_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE invoices (id)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="not a vector cache"):
        DiskCache(path, MIB)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    DiskCache(path, MIB).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(SettingsError, match="version 7, this LUSIFER reads up to 1"):
        DiskCache(path, MIB)


def test_a_lower_bound_shrinks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache = DiskCache(path, 8 * MIB)
    cache.put_many([(key(n), embedding(n, 384)) for n in range(3000)])
    cache.close()
    assert path.stat().st_size > 5 * MIB
    cache = DiskCache(path, MIB)
    assert cache.size_bytes() <= MIB
    cache.put_many([(key(5000), embedding(5000, 384))])
    assert same(cache.get_many([key(5000)])[0], embedding(5000, 384))
    cache.close()
    assert path.stat().st_size <= MIB


def test_a_disk_that_can_not_be_written_does_not_fail_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path / "cache.sqlite", MIB)
    cache.put_many([(key(1), embedding(1))])
    cache._database.execute("PRAGMA query_only = ON")
    with caplog.at_level(logging.WARNING):
        for number in range(2, 20):
            cache.put_many([(key(number), embedding(number))])
    assert len(caplog.records) == 1, "one line a minute, not one a request"
    assert same(cache.get_many([key(1)])[0], embedding(1))
    assert cache.get_many([key(2)]) == [None]
    cache._database.execute("PRAGMA query_only = OFF")
    cache.put_many([(key(2), embedding(2))])
    assert same(cache.get_many([key(2)])[0], embedding(2))
    cache.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "2m") as mounted:
        yield mounted


def test_really_full_disk(tiny_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(tiny_disk / "cache.sqlite", 16 * MIB)
    for start in range(0, 2000, 100):
        cache.put_many([(key(n), embedding(n, 384)) for n in range(start, start + 100)])
    assert "can't be written: database or disk is full" in caplog.text
    hits = cache.get_many([key(n) for n in range(2000)])
    assert any(hits)
    assert all(hit is None or same(hit, embedding(n, 384)) for n, hit in enumerate(hits))
    cache.close()
    (tiny_disk / "rest").write_bytes(b"")
    with (
        (tiny_disk / "rest").open("wb", buffering=0) as rest,
        pytest.raises(OSError, match="No space"),
    ):
        while True:
            rest.write(bytes(4096))
    with pytest.raises((StorageFullError, SettingsError)):
        DiskCache(tiny_disk / "second.sqlite", MIB)


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from lusifer.service.cache import cache_key
from lusifer.service.disk_cache import DiskCache
from lusifer.types import Embedding
path, first, count, dimension = Path(sys.argv[1]), *map(int, sys.argv[2:5])
cache = DiskCache(path, 2**21)
def vector(n):
    return np.random.default_rng(n).normal(size=dimension).astype(np.float32)
for start in range(first, first + count, 50):
    cache.put_many([
        (cache_key("print", "query", 16, "truncate", str(n)), Embedding(vector(n), 3 + n % 500, bool(n % 2)))
        for n in range(start, start + 50)
    ])
    print(start, flush=True)
cache.close()
"""


def writer(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(first), str(count), "384"],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("batches", [1, 7, 30])
def test_a_kill_in_the_middle_leaves_a_readable_cache(tmp_path: Path, batches: int) -> None:
    path = tmp_path / "cache.sqlite"
    process = writer(path, 0, 10**6)
    assert process.stdout is not None
    for _ in range(batches):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    cache = DiskCache(path, 2 * MIB)
    assert cache._database.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
    last = 50 * batches - 50
    hits = cache.get_many([key(n) for n in range(last + 5000)])
    assert all(hits[last : last + 50]), "what was acknowledged last is there"
    assert all(hit is None or same(hit, embedding(n, 384)) for n, hit in enumerate(hits))
    cache.close()


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    # None of them waits for the file to be there: opening is a race, too.
    processes = [writer(path, 10_000 * number, 1000) for number in range(3)]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, len(output.split())) == (0, 20)
    cache = DiskCache(path, 2 * MIB)
    assert cache._database.execute("PRAGMA integrity_check").fetchone() == (b"ok",)
    assert path.stat().st_size <= 2 * MIB
    numbers = [10_000 * process + n for process in range(3) for n in range(1000)]
    hits = cache.get_many([key(n) for n in numbers])
    assert sum(hit is not None for hit in hits) > 500
    assert all(
        hit is None or same(hit, embedding(n, 384)) for n, hit in zip(numbers, hits, strict=True)
    )
    cache.close()


@pytest.mark.parametrize("vector", [b"abc", "texts", 17])
def test_a_row_with_a_right_checksum_over_no_vector_is_a_miss(
    tmp_path: Path, vector: object
) -> None:
    path = tmp_path / "cache.sqlite"
    cache = DiskCache(path, MIB)
    cache.put_many([(key(1), embedding(1))])
    database = sqlite3.connect(path)
    raw = vector if isinstance(vector, bytes) else str(vector).encode()
    digest = hashlib.blake2b(key(1) + raw + b"1 0", digest_size=8).digest()
    database.execute(
        "UPDATE vectors SET vector = ?, tokens = 1, truncated = 0, check_sum = ?", (vector, digest)
    )
    database.commit()
    database.close()
    assert cache.get_many([key(1)]) == [None]
    cache.put_many([(key(1), embedding(1))])
    assert same(cache.get_many([key(1)])[0], embedding(1))
    cache.close()


def test_the_file_and_its_new_folder_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "cache.sqlite"
    cache = DiskCache(path, MIB)
    cache.put_many([(key(1), embedding(1))])
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    for folder in (path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    cache.close()
