from __future__ import annotations

import json
from typing import TYPE_CHECKING

from plugin.tests.cli.commands import run, run_json
from typer.testing import CliRunner

from lusifer.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, count: int) -> Path:
    rows = ({"id": f"d{i}", "text": f"document number {i}"} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_documents_are_deleted_by_their_ids(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    source = write(tmp_path / "d.jsonl", 10)
    assert run_json("index", source, "--index", folder, "--bundle", tiny_bundle)[0] == 0
    assert run("delete", "d1", "d2", "--index", folder) == (
        0,
        f"2 of 2 documents deleted\n8 documents in {folder}\n",
        "",
    )
    code, (line,) = run_json("delete", "d1", "d3", "--index", folder, "--json")
    assert (code, line["deleted"], line["missing"], line["count"]) == (1, 1, 1, 7)
    answer = CliRunner().invoke(
        app, ["delete", "-", "--index", str(folder), "--json"], input="d4\nd5\r\n\n"
    )
    line = json.loads(answer.stdout)
    assert (answer.exit_code, line["deleted"], line["count"]) == (0, 2, 5)


def test_no_index(tmp_path: Path) -> None:
    code, _, stderr = run("delete", "x", "--index", tmp_path / "no")
    assert code == 1
    assert "No index at" in stderr
