from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from lusifer.common.disk_map import DiskMap

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_put_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "map.sqlite"
    with DiskMap(path) as entries:
        entries.put({"b": "1", "a": "2"})
        entries.put({"b": "3"})
    with DiskMap(path) as entries:
        assert entries.get(["a", "b", "c"]) == {"a": "2", "b": "3"}
        assert len(entries) == 2


def test_delete_and_clear() -> None:
    with DiskMap() as entries:
        entries.put({str(n): "" for n in range(2000)})
        entries.delete(map(str, range(1500)))
        assert len(entries) == 500
        assert len(entries.get(map(str, range(2000)))) == 500
        entries.clear()
        assert len(entries) == 0


def test_setdefault_keeps_the_first_value() -> None:
    with DiskMap() as entries:
        assert entries.setdefault("a", "1") == "1"
        assert entries.setdefault("a", "2") == "1"


def test_pages_are_in_order_and_survive_deletions() -> None:
    with DiskMap() as entries:
        entries.put({"c": "3", "a": "1", "b": "2"})
        seen = []
        for page in entries.pages(2):
            seen.append(page)
            entries.delete(page)
        assert seen == [{"a": "1", "b": "2"}, {"c": "3"}]


def test_the_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        database.execute(
            "CREATE TABLE held (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID"
        )
        database.execute("INSERT INTO held VALUES ('a', '1')")
    database.close()
    with DiskMap(tmp_path / "ledger.sqlite") as entries:
        assert entries.get(["a"]) == {"a": "1"}


def test_a_closed_map_says_so() -> None:
    entries = DiskMap()
    entries.close()
    entries.close()
    with pytest.raises(sqlite3.ProgrammingError):
        len(entries)
