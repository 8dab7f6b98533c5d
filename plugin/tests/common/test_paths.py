from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from lusifer.common.paths import cache_directory, make_private

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUSIFER_CACHE", raising=False)
    assert cache_directory().name == "lusifer"
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "c"))
    assert cache_directory() == tmp_path / "c"
    monkeypatch.setenv("LUSIFER_CACHE", "~/c")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "c"


def test_a_new_folder_is_private_and_an_old_one_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a" / "b")
    for folder, mode in ((tmp_path / "a" / "b", 0o700), (tmp_path / "a", 0o700), (tmp_path, 0o755)):
        assert stat.S_IMODE(folder.stat().st_mode) == mode
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")
