from __future__ import annotations

from typing import TYPE_CHECKING

from plugin.tests.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_revoked_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    run("keys", "add", "indexer", "--file", file)
    revoke = ("keys", "revoke", "indexer", "--file", file)
    assert run(*revoke) == (0, "indexer is revoked.\n", "")
    assert run("keys", "list", "--file", file) == (0, "", "")
    assert run(*revoke)[0] == 1
