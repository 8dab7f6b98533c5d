"""What the new side held at the moment of the switch, on disk: the base of a three-way comparison.

For each document: did the old side change since (somebody wrote to it in the last moment)? Did the
new side change since (an application wrote to it after the switch)? Only where the first is so and
the second is not, the old side's content is brought over.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.base import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

__all__ = ["Snapshot"]


class Snapshot:
    """Key to version, in a file of SQLite's: constant memory, 120 to 140 bytes of disk a document.

    Args:
        path: The file; an empty string is a temporary one.
    """

    def __init__(self, path: Path | str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS held (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID"
        )

    def clear(self) -> None:
        """Forget everything."""
        self._database.execute("DELETE FROM held")

    def note(self, versions: Mapping[str, str]) -> None:
        """Keep what a page of the new side holds; on disk when it returns."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO held VALUES (?, ?)", versions.items())
        self._database.execute("COMMIT")

    def forget(self, keys: Sequence[str]) -> None:
        """Drop documents, which both sides agree are gone."""
        self._database.executemany("DELETE FROM held WHERE key = ?", [(key,) for key in keys])

    def count(self) -> int:
        """Documents noted."""
        (count,) = self._database.execute("SELECT count(*) FROM held").fetchone()
        return int(count)

    def held(self, keys: Sequence[str]) -> dict[str, str]:
        """Versions of the keys that were there."""
        found: dict[str, str] = {}
        for part in parts(keys, 500):
            marks = ",".join("?" * len(part))
            rows = self._database.execute(
                f"SELECT key, sha256 FROM held WHERE key IN ({marks})",  # noqa: S608
                part,
            )
            found.update(rows)
        return found

    def pages(self, limit: int) -> Iterator[dict[str, str]]:
        """Everything, in pages."""
        last = ""
        while True:
            rows = self._database.execute(
                "SELECT key, sha256 FROM held WHERE key > ? ORDER BY key LIMIT ?", (last, limit)
            ).fetchall()
            if not rows:
                return
            yield dict(rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
