from __future__ import annotations

from typing import TYPE_CHECKING

from plugin.tests.reindex.memory import memory_migration

from lusifer.reindex import snapshot
from lusifer.reindex.snapshot import count_changes, delete_snapshot, fill_snapshot, open_snapshot
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_snapshot_has_every_version_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "ORPHAN_KEYS", 2)
    _, target, migration = memory_migration()
    for key in "abcde":
        target.put(Document(key, key, {}))
    with open_snapshot(tmp_path) as before:
        before.put({"from an earlier cutover": "x"})
    fill_snapshot(tmp_path, migration)
    with open_snapshot(tmp_path) as filled:
        assert filled.get([*"abcde", "from an earlier cutover"]) == target.noted
    assert (tmp_path / "ledger.sqlite").exists()


def test_what_was_written_since_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "ORPHAN_KEYS", 2)
    _, target, migration = memory_migration()
    for key in "abc":
        target.put(Document(key, key, {}))
    assert count_changes(tmp_path, migration) == 0
    assert not (tmp_path / "ledger.sqlite").exists()
    fill_snapshot(tmp_path, migration)
    assert count_changes(tmp_path, migration) == 0
    target.put(Document("a", "edited", {}))
    target.put(Document("new", "new", {}))
    target.remove("b")
    assert count_changes(tmp_path, migration) == 2


def test_a_snapshot_is_deleted_once(tmp_path: Path) -> None:
    with open_snapshot(tmp_path):
        pass
    delete_snapshot(tmp_path)
    delete_snapshot(tmp_path)
    assert list(tmp_path.iterdir()) == []
