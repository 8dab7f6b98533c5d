from __future__ import annotations

import sys
from pathlib import Path

import pytest
from plugin.tests.embedded_index import create

from lusifer.embedded.engine import damaged, edge_errors, locked, translate
from lusifer.errors import (
    IndexCorruptError,
    IndexLockedError,
    MissingExtraError,
    StorageFullError,
    StoreError,
)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            "Service runtime error: failed to open WAL x: Can't init WAL: Kind(WouldBlock)",
            IndexLockedError,
        ),
        ("No space left on device: WAL buffer size exceeds available disk space", StorageFullError),
        ("IO Error: No space left on device (os error 28)", StorageFullError),
        ("Service runtime error: failed to load segment x", IndexCorruptError),
        ("something new", StoreError),
    ],
)
def test_messages_of_the_engine_become_errors_of_ours(message: str, kind: type[StoreError]) -> None:
    path = Path("index")
    assert type(translate(message, path)) is kind
    with pytest.raises(kind) as caught, edge_errors(path):
        raise Exception(message)
    assert str(caught.value.__cause__) == message


def test_damage_is_assumed_only_while_loading() -> None:
    assert type(translate("something new", Path("x"), loading=True)) is IndexCorruptError
    assert type(translate("Permission denied (os error 13)", Path("x"), loading=True)) is StoreError


def test_ctrl_c_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt), edge_errors(Path("x")):
        raise KeyboardInterrupt


def test_errors_name_the_index() -> None:
    assert locked(Path("i")).message == (
        "Another process holds the index i; one process may use it at a time."
    )
    assert damaged(Path("i"), "it is empty").message == "The index i is damaged: it is empty."


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(MissingExtraError) as caught:
        create(tmp_path / "i")
    assert "pip install 'lusifer[qdrant]'" in caught.value.next_step
    assert not (tmp_path / "i").exists()
