"""States on disk: the newest few, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from lusifer_training.errors import CheckpointError
from lusifer_training.trainer.run_state import RunStates

if TYPE_CHECKING:
    from pathlib import Path


def state(step: int) -> Any:
    return {
        "identity": "one",
        "step": step,
        "losses": [0.5] * step,
        "parameters": {"head": torch.full((2,), float(step))},
        "optimizer": {},
        "scheduler": {},
        "rng": torch.get_rng_state(),
        "gpu_rng": [],
    }


def test_the_newest_are_kept_and_the_last_is_read(tmp_path: Path) -> None:
    states = RunStates(tmp_path, keep=2)
    assert states.newest() is None
    for step in (5, 10, 15):
        assert states.save(state(step)) == tmp_path / f"step-{step:06d}.pt"
    assert [path.name for path in states.paths()] == ["step-000010.pt", "step-000015.pt"]
    path, newest = states.newest() or pytest.fail("no state")
    assert path.name == "step-000015.pt"
    assert newest["step"] == 15
    assert newest["parameters"]["head"].tolist() == [15.0, 15.0]


def test_what_a_kill_left_is_removed_and_never_read(tmp_path: Path) -> None:
    states = RunStates(tmp_path, keep=2)
    states.save(state(5))
    (tmp_path / "step-000010.pt.0a1b2c3d.partial").write_bytes(b"half")
    path, _ = states.newest() or pytest.fail("no state")
    assert [each.name for each in tmp_path.iterdir()] == [path.name] == ["step-000005.pt"]


def test_a_damaged_state_names_the_one_before(tmp_path: Path) -> None:
    states = RunStates(tmp_path, keep=2)
    states.save(state(5))
    path = states.save(state(10))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"step-000010\.pt can't be read") as caught:
        states.newest()
    assert caught.value.next_step == "Delete the file to resume from step-000005.pt."


def test_an_error_other_than_a_full_disk_is_not_renamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunStates(tmp_path / "gone", keep=1).save(state(1))
