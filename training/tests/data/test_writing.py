"""JSON lines are written whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer_training.data.writing import write_json_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_utf_8_and_one_record_a_line(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", [{"text": "猫"}, {"text": "two", "n": 2}])
    assert (tmp_path / "a.jsonl").read_bytes() == (
        '{"text": "猫"}\n{"text": "two", "n": 2}\n'.encode()
    )


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, object]]:
        yield {"text": "new"}
        raise ValueError("broken")

    (tmp_path / "a.jsonl").write_text("old")
    with pytest.raises(ValueError, match="broken"):
        write_json_lines(tmp_path / "a.jsonl", broken())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
