from __future__ import annotations

from typing import TYPE_CHECKING

from plugin.tests.cli.commands import run, run_json

from lusifer.service.auth import read_keys

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    code, key, _ = run("keys", "add", "indexer", "--file", file, "--tokens-per-minute", 600)
    assert code == 0
    assert key.startswith("lusifer_")
    assert key.strip() not in file.read_text()
    (kept,) = read_keys(file)
    assert (kept.name, kept.tokens_per_minute, kept.maximum_texts) == ("indexer", 600, None)


def test_a_name_can_be_used_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    assert run("keys", "add", "indexer", "--file", file)[0] == 0
    assert run("keys", "add", "indexer", "--file", file)[0] == 1
    assert [key["name"] for key in run_json("keys", "list", "--file", file)[1][0]] == ["indexer"]
