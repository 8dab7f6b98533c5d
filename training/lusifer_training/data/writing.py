"""Write JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lusifer.common.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["write_json_lines"]


def write_json_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Write records as JSON lines in UTF-8; the file is written whole or not at all.

    Raises:
        OSError: The folder can't be written, or the disk is full; an old file stays as it was.
    """
    with atomic_writer(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
