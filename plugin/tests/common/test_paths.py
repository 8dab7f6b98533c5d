from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.common.paths import cache_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUSIFER_CACHE", raising=False)
    assert cache_directory().name == "lusifer"
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "c"))
    assert cache_directory() == tmp_path / "c"
    monkeypatch.setenv("LUSIFER_CACHE", "~/c")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "c"
