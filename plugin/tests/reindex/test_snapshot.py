from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer.reindex.snapshot import (
    DELETION,
    THEIRS,
    Base,
    Snapshot,
    delete_snapshot,
    open_snapshot,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("base", "entry"),
    [
        (Base("a1", "a1@copy"), "a1|@copy"),
        (Base("a1", "a1@2026.5"), "a1|@2026.5"),
        (Base("a1", "b2@copy", "c3"), "a1|b2@copy|c3"),
        (Base("a1", THEIRS), "a1|theirs"),
        (Base(pending="a1"), "||a1"),
        (Base("a1", "a1", DELETION), "a1|a1|-"),
        (Base(), ""),
    ],
)
def test_a_base_comes_back_as_it_was_written(base: Base, entry: str) -> None:
    assert base.encode() == entry
    assert Base.decode(entry) == base


@pytest.mark.parametrize(
    ("base", "version", "own"),
    [
        (Base(), None, True),
        (Base(), "a1", False),
        (Base(), "a1@1.5", False),
        (Base(), "a1@copy", True),
        (Base("a1", "a1@1.5"), "a1@1.5", True),
        (Base("a1", "a1@1.5"), "a1@1.6", False),
        (Base("a1", "a1@1.5"), None, False),
        (Base("a1", "a1@1.5", "b2"), "b2@1.6", True),
        (Base("a1", "a1@1.5", "b2"), "b2", False),
        (Base("a1", "a1@1.5", "b2"), "a1@1.5", True),
        (Base("a1", "a1@1.5", "b2"), None, False),
        (Base("a1", "a1@1.5", DELETION), None, True),
        (Base(pending="a1"), None, True),
        (Base("a1", THEIRS), "a1", False),
        (Base("a1", THEIRS), None, False),
    ],
)
def test_a_version_is_our_own_or_an_application_s(
    base: Base, version: str | None, own: bool
) -> None:
    assert base.is_own(version) == own


def test_a_snapshot_keeps_bases_in_the_job_s_folder(tmp_path: Path) -> None:
    bases = {key: Base(key, f"{key}@copy") for key in "abcde"}
    with open_snapshot(tmp_path) as snapshot:
        snapshot.put(bases)
        snapshot.put({})
        snapshot.delete("c")
    with open_snapshot(tmp_path) as snapshot:
        assert len(snapshot) == 4
        assert snapshot.get("bcx") == {"b": bases["b"]}
        assert [list(page) for page in snapshot.pages(2)] == [["a", "b"], ["d", "e"]]
        assert [list(page) for page in snapshot.pages(2, "b")] == [["d", "e"]]
    assert [each.name for each in tmp_path.iterdir()] == ["snapshot.sqlite"]
    delete_snapshot(tmp_path)
    delete_snapshot(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_in_place_there_is_no_file(tmp_path: Path) -> None:
    with open_snapshot(tmp_path, in_place=True) as snapshot:
        assert isinstance(snapshot, Snapshot)
        snapshot.put({"a": Base("a1")})
    assert list(tmp_path.iterdir()) == []
