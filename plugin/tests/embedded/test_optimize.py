from __future__ import annotations

import json
import shutil
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lusifer.embedded.optimize import main
from lusifer.embedded.store import EmbeddedStore
from lusifer.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def test_optimize_lets_other_threads_run(filled: Path) -> None:
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.01):
            ticks += 1

    thread = threading.Thread(target=tick)
    with EmbeddedStore.open(filled) as store:
        thread.start()
        store.optimize()
        done.set()
        thread.join()
        assert store.count() == 300
    assert ticks >= 5


def test_failed_optimize_leaves_the_store_open(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedStore.open(filled) as store:
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        with pytest.raises(StoreError, match="status 1"):
            store.optimize()
        assert store.count() == 300


def test_optimize_command(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(filled / "shard")]) == 0
    assert json.loads(capsys.readouterr().out) == {"optimized": False}
    assert main([str(filled / "nowhere")]) == 1
    assert "does not exist" in json.loads(capsys.readouterr().out)["error"]
    assert main([]) == 2
