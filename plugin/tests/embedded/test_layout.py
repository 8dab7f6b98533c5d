from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.embedded_index import create, documents
from plugin.tests.small_disk import small_disk
from plugin.tests.store_contract import unit

from lusifer.embedded import layout
from lusifer.embedded.layout import (
    IndexFile,
    check_fingerprint,
    free_space_or_raise,
    lock_index,
    read_flushed,
    read_index,
    write_flushed,
    write_index,
)
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import (
    FingerprintMismatchError,
    IndexCorruptError,
    IndexLockedError,
    StorageFullError,
    StoreError,
)
from lusifer.qdrant.keywords import KeywordOptions
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Usage = namedtuple("Usage", "total used free")


def test_the_index_file_never_changes(tmp_path: Path) -> None:
    index = IndexFile(fingerprint="f", dimension=4, model="m", keywords=KeywordOptions())
    write_index(tmp_path, index)
    assert (tmp_path / "index.json").read_text() == (
        '{\n  "schema_version": 2,\n  "fingerprint": "f",\n  "dimension": 4,\n  "model": "m",\n'
        '  "vector_name": "lusifer",\n  "keywords": {\n    "language": null,\n    "words": 2\n  }\n}\n'
    )
    assert read_index(tmp_path) == index


def test_an_index_file_of_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(
        '{"schema_version": 1, "fingerprint": "f", "dimension": 4, "model": "m",'
        ' "vector_name": "lusifer", "keywords": {"language": null}}'
    )
    index = read_index(tmp_path)
    assert (index.schema_version, index.keywords) == (1, KeywordOptions(words=1))


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 1, "x": 1}', "\ufffd"]
)
def test_damaged_index_file(filled: Path, raw: str) -> None:
    (filled / "index.json").write_text(raw, encoding="utf-16")
    with pytest.raises(IndexCorruptError, match=r"index\.json"):
        EmbeddedStore.open(filled)
    (filled / "index.json").write_text(raw)
    with pytest.raises(IndexCorruptError, match=r"index\.json"):
        EmbeddedStore.open(filled)


def test_newer_index_file_says_upgrade(filled: Path) -> None:
    (filled / "index.json").write_text('{"schema_version": 3, "news": 1}')
    with pytest.raises(StoreError, match="version 3") as caught:
        EmbeddedStore.open(filled)
    assert "--upgrade" in caught.value.next_step


def test_the_bundle_in_use_is_compared(tmp_path: Path) -> None:
    index = IndexFile(fingerprint="f", dimension=4, model="m")
    check_fingerprint(tmp_path, index, None)
    check_fingerprint(tmp_path, index, "f")
    with pytest.raises(
        FingerprintMismatchError, match=r"vectors of m \(f\), the bundle in use is g"
    ):
        check_fingerprint(tmp_path, index, "g")


def test_the_number_of_the_last_flush(tmp_path: Path) -> None:
    assert read_flushed(tmp_path) == 0
    write_flushed(tmp_path, 12)
    assert (tmp_path / "flushed.json").read_text() == '{"documents": 12}\n'
    assert read_flushed(tmp_path) == 12
    (tmp_path / "flushed.json").write_text("[]")
    with pytest.raises(IndexCorruptError, match=r"flushed\.json can't be read"):
        read_flushed(tmp_path)


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    held = lock_index(tmp_path)
    with pytest.raises(IndexLockedError, match="Another process holds the index"):
        lock_index(tmp_path)
    held.release()
    lock_index(tmp_path).release()
    with pytest.raises(StoreError, match="can't be locked"):
        lock_index(tmp_path / "index.lock")


def test_free_space_is_checked_with_a_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout.shutil, "disk_usage", lambda _: Usage(10**12, 0, 200_000_000))
    free_space_or_raise(tmp_path, 200_000_000 - 134_217_728, "Writing")
    with pytest.raises(StorageFullError) as caught:
        free_space_or_raise(tmp_path, 200_000_001 - 134_217_728, "Writing")
    assert caught.value.message == (
        "Writing needs 65.8 MB and a margin of 134 MB, 200.0 MB are free at "
        f"{tmp_path}; nothing was written."
    )


def test_full_disk_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create(tmp_path / "index") as store:
        store.upsert(documents(1), unit(1))
        monkeypatch.setattr(
            layout.shutil, "disk_usage", lambda _: Usage(10**12, 0, layout.MARGIN_BYTES + 10)
        )
        with pytest.raises(StorageFullError, match="nothing was written") as caught:
            store.upsert(documents(5), unit(5))
        assert caught.value.status == 507
        with pytest.raises(StorageFullError, match="Optimising"):
            store.optimize()
        assert store.count() == 1
        assert store.search(unit(1)[0], 1)[0].id == "0"
        monkeypatch.setattr(layout.shutil, "disk_usage", lambda _: Usage(10**12, 0, 0))
        with pytest.raises(StorageFullError):
            create(tmp_path / "second")
    assert not (tmp_path / "second" / "index.json").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a filesystem of 140 MiB, which holds the margin and little more."""
    with small_disk(tmp_path / "disk", "140m") as mounted:
        yield mounted


def test_really_full_disk(disk: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 512)).astype(np.float32)
    written = 0
    with create(disk / "index", dimension=512) as store:
        with pytest.raises(StorageFullError):
            for batch in range(100):
                store.upsert([Document(f"{batch}/{i}", "x" * 5000) for i in range(50)], vectors)
                written += 50
        assert written > 0
        assert store.count() == written
    with EmbeddedStore.open(disk / "index") as store:
        assert store.count() == written


def test_a_foreign_partial_file_keeps_an_index_from_being_made(tmp_path: Path) -> None:
    (tmp_path / "video.mp4.partial").write_text("theirs")
    (tmp_path / "index.json.0123abcd.partial").write_text("ours")
    with pytest.raises(StoreError, match=r"holds other files \(video\.mp4\.partial\)"):
        layout.clear_leftovers(tmp_path)
    assert (tmp_path / "video.mp4.partial").read_text() == "theirs"
    (tmp_path / "video.mp4.partial").unlink()
    layout.clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
