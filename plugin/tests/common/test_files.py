from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lusifer.common.files import (
    acquire_lock,
    atomic_writer,
    is_partial,
    partials_of,
    read_regular,
    remove_partials,
    write_atomic,
)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    write_atomic(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_the_old_file_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, "old")
    with pytest.raises(RuntimeError, match="half"), atomic_writer(path) as file:
        file.write(b"new")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_mode_is_that_of_the_caller(tmp_path: Path) -> None:
    write_atomic(tmp_path / "keys.toml", "", mode=0o600)
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_link_stays_and_the_file_behind_it_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "keys.toml", tmp_path / "keys.toml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(Path("real") / "keys.toml")
    if os.getuid() == 0:
        os.chown(real, 12, 34)
    before = os.umask(0o077)
    try:
        write_atomic(link, "new", mode=0o600)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    if os.getuid() == 0:
        assert (real.stat().st_uid, real.stat().st_gid) == (12, 34)
    assert [each.name for each in real.parent.iterdir()] == ["keys.toml"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "nowhere" / "state.json", "")


def test_leftovers_of_a_kill_are_recognised(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from lusifer.common.files import atomic_writer\n"
        "with atomic_writer(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "state.json")], check=False)
    assert done.returncode == 9
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
    assert not is_partial(tmp_path / "state.json")
    assert partials_of(tmp_path / "state.json") == [left]
    remove_partials(tmp_path / "state.json")
    assert list(tmp_path.iterdir()) == []


def test_partial_files_of_others_are_left_alone(tmp_path: Path) -> None:
    theirs = ["video.mp4.partial", "state.json.download.partial", "my-state.json.0123abcd.partial"]
    for name in theirs:
        (tmp_path / name).touch()
    (tmp_path / "state.json.partial").touch()
    assert not is_partial(tmp_path / "video.mp4.partial")
    remove_partials(tmp_path / "state.json")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(theirs)


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    lock = acquire_lock(tmp_path / "index.lock")
    with pytest.raises(TimeoutError, match=r"index\.lock"):
        acquire_lock(tmp_path / "index.lock")
    with pytest.raises(TimeoutError):
        acquire_lock(tmp_path / "index.lock", timeout_s=0.1)
    # A store may be closed in another thread than the one that opened it.
    closer = threading.Thread(target=lock.release)
    closer.start()
    closer.join()
    lock.release()
    acquire_lock(tmp_path / "index.lock").release()


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from lusifer.common.files import acquire_lock\n"
        "lock = acquire_lock(pathlib.Path(sys.argv[1])); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "index.lock")], check=False)
    assert done.returncode == 9
    acquire_lock(tmp_path / "index.lock").release()


def test_a_lock_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.lock").mkdir()
    with pytest.raises(OSError, match=r"index\.lock"):
        acquire_lock(tmp_path / "index.lock")


def test_only_a_regular_file_of_a_known_size_is_read(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"12345")
    os.mkfifo(pipe)
    assert read_regular(file, 5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, at most 4 are read"):
        read_regular(file, 4)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="is not a regular file"):
            read_regular(path, 5)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 5)
