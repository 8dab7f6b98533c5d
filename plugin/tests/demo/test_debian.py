from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lusifer.demo import debian
from lusifer.demo.debian import (
    DebianUnavailableError,
    Package,
    download_lists,
    main,
    read_packages,
    write_packages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_packages_and_descriptions_are_joined(lists: Path) -> None:
    gimp, data, updates, third = read_packages(lists)
    assert gimp == Package(
        id="gimp",
        package="gimp",
        source="gimp",
        short="GNU Image Manipulation Program",
        long="GIMP edits photos: you can retouch them.\n\nFeatures:\n* layers\n* masks\n- and more",
        checksum="aaa",
    )
    assert (data.source, data.short, data.long) == ("gimp", "Data files for GIMP", "")
    assert (updates.id, updates.short) == ("only-in-updates", "short only")
    assert (third.short, third.long) == (
        "described in place",
        "First paragraph goes on.\n\nSecond.",
    )


def fake_apt(folder: Path, script: str) -> str:
    for name, body in (("apt-get", script), ("apt-config", "exit 0\n")):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_source_that_fails_does_not_stop_the_others(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, tools = tmp_path / "private", tmp_path / "tools"
    tools.mkdir()
    script = f"cp {lists}/* {private}/lists/\necho 'E: third party failed' >&2\nexit 100\n"
    monkeypatch.setenv("PATH", fake_apt(tools, script))
    assert len(read_packages(download_lists(private))) == 4


@pytest.mark.parametrize(
    "script", ["echo 'E: no network' >&2\nexit 100\n", "exit 0\n", "sleep 5\n"]
)
def test_nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setenv(
        "PATH",
        fake_apt(tmp_path, f"exec 2>&1 >/dev/null\n{script}" if "sleep" in script else script),
    )
    with pytest.raises(DebianUnavailableError, match="no package list"):
        download_lists(tmp_path / "private", timeout_s=0.5)


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianUnavailableError, match="no apt-get"):
        download_lists(tmp_path)
    assert main([str(tmp_path / "out.jsonl")]) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_debian_command(lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "download_lists", lambda folder: lists)
    assert main([str(tmp_path / "deep" / "out.jsonl")]) == 0
    lines = (tmp_path / "deep" / "out.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [
        ["id", "package", "source", "short", "long"]
    ] * 4
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out.jsonl"]
    assert main([]) == 2


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    one = Package("a", "a", "s", "a\u2028b", "long")
    assert write_packages([one], path) == 1
    expected = '{"id": "a", "package": "a", "source": "s", "short": "a\u2028b", "long": "long"}\n'
    assert path.read_text(encoding="utf-8") == expected

    def broken() -> Iterator[Package]:
        yield one
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_packages(broken(), path)
    assert path.read_text(encoding="utf-8") == expected
    assert list(tmp_path.iterdir()) == [path]
