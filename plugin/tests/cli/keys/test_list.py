from __future__ import annotations

from typing import TYPE_CHECKING

from plugin.tests.cli.commands import run, run_json

if TYPE_CHECKING:
    from pathlib import Path


def test_names_and_limits(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    run("keys", "add", "indexer", "--file", file, "--tokens-per-minute", 600)
    run("keys", "add", "search", "--file", file)
    assert run("keys", "list", "--file", file) == (
        0,
        "indexer  tokens_per_minute 600\nsearch\n",
        "",
    )
    code, (keys,) = run_json("keys", "list", "--file", file)
    assert code == 0
    assert keys == [
        {"name": "indexer", "tokens_per_minute": 600, "maximum_texts": None, "disabled": False},
        {"name": "search", "tokens_per_minute": None, "maximum_texts": None, "disabled": False},
    ]
