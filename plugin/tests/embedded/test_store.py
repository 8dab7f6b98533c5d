"""What only the embedded store has: its folder, its lock, kills and full disks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lusifer
from lusifer.embedded import layout
from lusifer.embedded.engine import edge_errors, translate
from lusifer.embedded.optimize import main, optimize_elsewhere
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import (
    FingerprintMismatchError,
    IndexCorruptError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidDimensionError,
    StorageFullError,
    StoreError,
)
from lusifer.stores.payloads import split_requests
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FINGERPRINT = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lusifer.__file__).parents[1])}
Usage = namedtuple("Usage", "total used free")


def unit(count: int, dimension: int = 16) -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(count, dimension))
    result: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return result


def documents(count: int) -> list[Document]:
    return [Document(str(i), f"text {i}") for i in range(count)]


def create(path: Path, dimension: int = 16) -> EmbeddedStore:
    return EmbeddedStore.create(path, fingerprint=FINGERPRINT, dimension=dimension, model="tiny")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A closed index of 300 documents: two operations, of which the log still holds the last."""
    with create(tmp_path / "index") as store:
        store.upsert(documents(300), unit(300))
    return tmp_path / "index"


def test_reopening_finds_everything(filled: Path) -> None:
    with EmbeddedStore.open(filled, FINGERPRINT) as store:
        assert store.count() == 300
        assert store.unchanged(documents(301)) == {str(i) for i in range(300)}
        assert store.search(unit(300)[3], 1)[0].id == "3"
        assert store.index.model == "tiny"


def test_open_or_create(tmp_path: Path) -> None:
    options = {"fingerprint": FINGERPRINT, "dimension": 16, "model": "tiny"}
    path = tmp_path / "deep" / "index"
    with EmbeddedStore.open_or_create(path, **options) as store:  # type: ignore[arg-type]
        store.upsert(documents(1), unit(1))
    with EmbeddedStore.open_or_create(path, **options) as store:  # type: ignore[arg-type]
        assert store.count() == 1
    with pytest.raises(InvalidDimensionError, match="has dimension 16, 8 was asked for"):
        EmbeddedStore.open_or_create(path, fingerprint=FINGERPRINT, dimension=8, model="tiny")
    with pytest.raises(StoreError, match="already holds an index"):
        create(path)


@pytest.mark.parametrize("how", ["open", "open_or_create"])
def test_another_model_is_refused(filled: Path, how: str) -> None:
    with pytest.raises(FingerprintMismatchError) as caught:
        if how == "open":
            EmbeddedStore.open(filled, OTHER)
        else:
            EmbeddedStore.open_or_create(filled, fingerprint=OTHER, dimension=16, model="other")
    assert FINGERPRINT in caught.value.message
    assert OTHER in caught.value.message
    assert "lusifer index" in caught.value.next_step
    EmbeddedStore.open(filled, FINGERPRINT).close()


def test_no_index(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IndexNotFoundError, match="No index at"):
            EmbeddedStore.open(path)
    assert list(tmp_path.iterdir()) == []


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
    (filled / "index.json").write_text('{"schema_version": 2, "news": 1}')
    with pytest.raises(StoreError, match="version 2") as caught:
        EmbeddedStore.open(filled)
    assert "--upgrade" in caught.value.next_step


@pytest.mark.parametrize(
    ("pattern", "size_bytes"),
    [
        ("shard", None),
        ("shard/segments/*", None),
        ("shard/edge_config.json", 3),
        ("shard/segments/*/segment.json", 5),
        (
            "shard/segments/*/mutable_id_tracker.mappings",
            None,
        ),  # the engine opens it, documents missing
        ("shard/segments/*/mutable_id_tracker.mappings", 100),
        (
            "shard/segments/*/vector_storage-lusifer/vectors/status.dat",
            0,
        ),  # panics inside the engine
        (
            "shard/segments/*/vector_storage-lusifer/vectors/status.dat",
            None,
        ),  # searches find nothing
        ("shard/segments/*/payload_storage/page_0.dat", None),
        ("flushed.json", 4),
    ],
)
def test_damaged_data_is_never_a_smaller_index(
    filled: Path, pattern: str, size_bytes: int | None
) -> None:
    for path in filled.glob(pattern):
        if size_bytes is not None:
            os.truncate(path, size_bytes)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with pytest.raises(IndexCorruptError) as caught, EmbeddedStore.open(filled) as store:
        store.search(unit(1)[0], 5)
    assert "index again into a new folder" in caught.value.next_step


def test_creation_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "index"
    (path / "shard.partial" / "segments").mkdir(parents=True)
    (path / "index.json.partial").write_text("{")
    with pytest.raises(IndexNotFoundError):
        EmbeddedStore.open(path)
    with create(path) as store:
        assert store.count() == 0
    # Killed between the rename of the shard and index.json: the shard is empty, nothing is lost.
    (path / "index.json").unlink()
    with create(path) as store:
        store.upsert(documents(2), unit(2))
    (path / "index.json").unlink()
    with pytest.raises(
        IndexCorruptError, match=r"lacks index\.json, but its shard holds 2 documents"
    ):
        create(path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"other files \(thesis\.txt\)"):
        create(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(StoreError):
        create(tmp_path / "thesis.txt")


def test_one_owner(filled: Path) -> None:
    code = (
        "import sys, lusifer\n"
        "try: lusifer.EmbeddedStore.open(sys.argv[1]).close()\n"
        "except lusifer.LusiferError as error: print(type(error).__name__, error.retryable)\n"
        "else: print('opened')"
    )

    def second_process() -> str:
        command = [sys.executable, "-c", code, str(filled)]
        return subprocess.run(
            command, env=ENVIRONMENT, check=True, capture_output=True, text=True
        ).stdout.strip()

    with EmbeddedStore.open(filled):
        assert second_process() == "IndexLockedError True"
        with pytest.raises(IndexLockedError):
            EmbeddedStore.open(filled)
        with pytest.raises(IndexLockedError):
            optimize_elsewhere(filled / "shard")
    assert second_process() == "opened"


def test_acknowledged_documents_survive_kill_9(tmp_path: Path) -> None:
    code = """
import sys, numpy as np, lusifer
store = lusifer.EmbeddedStore.create(sys.argv[1], fingerprint="f", dimension=16, model="m")
for batch in range(10_000):
    documents = [lusifer.Document(f"{batch}/{i}", "text " * 50) for i in range(20)]
    store.upsert(documents, np.eye(20, 16, -1, dtype="f4") + 1)
    print(batch, flush=True)
"""
    path = tmp_path / "index"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 30:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with EmbeddedStore.open(path, "f") as store:
        expected = [
            Document(f"{batch}/{i}", "text " * 50)
            for batch in range(acknowledged + 1)
            for i in range(20)
        ]
        assert store.unchanged(expected) == {document.id for document in expected}
        assert store.count() - len(expected) in (0, 20), (
            "at most the batch in flight is there too, and whole"
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
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 140 MiB, which holds the margin and little more."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small filesystem needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=140m", "tmpfs", str(mount)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small filesystem failed: {mounted.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)  # noqa: S607


def test_really_full_disk(small_disk: Path) -> None:
    vectors = unit(50, 512)
    written = 0
    with create(small_disk / "index", dimension=512) as store:
        with pytest.raises(StorageFullError):
            for batch in range(100):
                store.upsert([Document(f"{batch}/{i}", "x" * 5000) for i in range(50)], vectors)
                written += 50
        assert written > 0
        assert store.count() == written
    with EmbeddedStore.open(small_disk / "index") as store:
        assert store.count() == written


def test_optimize_lets_other_threads_run(filled: Path) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.01):
            ticks += 1

    thread = threading.Thread(target=tick)
    with EmbeddedStore.open(filled) as store:
        thread.start()
        store.optimize()
        done.set()
        thread.join()
        assert store.count() == 300
    assert ticks >= 5


def test_failed_optimize_leaves_the_store_open(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedStore.open(filled) as store:
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        with pytest.raises(StoreError, match="status 1"):
            store.optimize()
        assert store.count() == 300


def test_optimize_command(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(filled / "shard")]) == 0
    assert json.loads(capsys.readouterr().out) == {"optimized": False}
    assert main([str(filled / "nowhere")]) == 1
    assert "does not exist" in json.loads(capsys.readouterr().out)["error"]
    assert main([]) == 2


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            "Service runtime error: failed to open WAL x: Can't init WAL: Kind(WouldBlock)",
            IndexLockedError,
        ),
        ("No space left on device: WAL buffer size exceeds available disk space", StorageFullError),
        ("IO Error: No space left on device (os error 28)", StorageFullError),
        ("Service runtime error: failed to load segment x", IndexCorruptError),
        ("something new", StoreError),
    ],
)
def test_sentences_of_the_engine_become_errors_of_ours(
    message: str, kind: type[StoreError]
) -> None:
    path = Path("index")
    assert type(translate(message, path)) is kind
    with pytest.raises(kind) as caught, edge_errors(path):
        raise Exception(message)
    assert str(caught.value.__cause__) == message


def test_damage_is_assumed_only_while_loading() -> None:
    assert type(translate("something new", Path("x"), loading=True)) is IndexCorruptError
    assert type(translate("Permission denied (os error 13)", Path("x"), loading=True)) is StoreError


def test_ctrl_c_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt), edge_errors(Path("x")):
        raise KeyboardInterrupt


def test_operations_are_bounded_by_count_and_bytes() -> None:
    bounds = {"points": 256, "size_bytes": 8 * 1024**2}
    assert [len(part) for part in split_requests([10] * 600, **bounds)] == [256, 256, 88]
    assert list(split_requests([5_000_000, 5_000_000, 20_000_000, 1], **bounds)) == [
        [0],
        [1],
        [2],
        [3],
    ]
    assert list(split_requests([], **bounds)) == []
