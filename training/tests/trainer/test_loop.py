"""The training loop: what a kill, a full stop or a diverging loss leave behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lusifer_training.errors import CheckpointError, DiskFullError, DivergedError
from lusifer_training.recipe import LoopRecipe
from lusifer_training.trainer.loop import TrainingLoop

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 24


def make(folder: Path, *, identity: str = "one", steps: int = STEPS, every: int = 5) -> Any:
    """A small regression with dropout: a batch follows from its step, noise from the random state."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    parameters = dict(layer.named_parameters())
    loop = TrainingLoop(
        folder,
        parameters,
        dict.fromkeys(parameters, 0.05),
        steps=steps,
        identity=identity,
        recipe=LoopRecipe(save_every=every),
    )

    def losses(step: int) -> dict[str, torch.Tensor]:
        batch = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        noisy = torch.nn.functional.dropout(layer(batch), 0.2)
        loss = (noisy - batch[:, :3]).pow(2).mean()
        return {"loss": loss, "half": loss.detach() / 2}

    return loop, losses, layer


def stop_at(losses: Callable[[int], Any], step: int, error: Exception) -> Callable[[int], Any]:
    def stopping(number: int) -> Any:
        if number == step:
            raise error
        return losses(number)

    return stopping


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    loop, losses, _ = make(tmp_path_factory.mktemp("whole"))
    return loop.run(losses)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_to_the_end(tmp_path: Path, uninterrupted: list[float]) -> None:
    loop, losses, _ = make(tmp_path)
    assert loop.run(losses) == uninterrupted
    assert len(uninterrupted) == STEPS
    assert sum(uninterrupted[-5:]) < sum(uninterrupted[:5])
    records = metrics(tmp_path)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert set(records[0]) == {"loss", "half", "step", "gradient_norm"}


def test_a_finished_run_is_not_run_again(tmp_path: Path, uninterrupted: list[float]) -> None:
    loop, losses, _ = make(tmp_path)
    loop.run(losses)
    again, _, _ = make(tmp_path)
    assert again.run(lambda step: pytest.fail(f"step {step} ran again")) == uninterrupted


@pytest.mark.parametrize("stop", [3, 5, 17, 23])
def test_resume_gives_what_an_uninterrupted_run_gives(
    tmp_path: Path, uninterrupted: list[float], stop: int
) -> None:
    loop, losses, _ = make(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        loop.run(stop_at(losses, stop, KeyboardInterrupt()))
    loop, losses, _ = make(tmp_path)
    assert loop.run(losses) == uninterrupted
    # Steps that the stop undid are not counted twice.
    assert [record["step"] for record in metrics(tmp_path)] == list(range(1, STEPS + 1))


_KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
loop, losses, _ = t.make(Path(sys.argv[2]))
def killing(step):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return losses(step)
loop.run(killing)
"""


def test_kill_9_costs_the_steps_since_the_last_checkpoint(
    tmp_path: Path, uninterrupted: list[float]
) -> None:
    # The parent's path: pytest may have found the packages without an installation.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, __file__, str(tmp_path)],
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(metrics(tmp_path)) == 13
    loop, losses, _ = make(tmp_path)
    ran = []
    result = loop.run(lambda step: ran.append(step) or losses(step))
    assert ran[0] == 10
    assert result == pytest.approx(uninterrupted, rel=0, abs=1e-6)


def test_a_half_written_metrics_line_is_dropped(tmp_path: Path) -> None:
    loop, losses, _ = make(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        loop.run(stop_at(losses, 7, KeyboardInterrupt()))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"loss": 0.1')
    loop, losses, _ = make(tmp_path)
    loop.run(losses)
    assert len(metrics(tmp_path)) == STEPS


class TestDiverged:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_loss_that_is_no_number(
        self, tmp_path: Path, uninterrupted: list[float], value: float
    ) -> None:
        loop, losses, _ = make(tmp_path)

        def diverging(step: int) -> dict[str, torch.Tensor]:
            whole = losses(step)
            return {"loss": whole["loss"] * value} if step == 12 else whole

        with pytest.raises(DivergedError, match=f"loss of step 12 is {value}") as caught:
            loop.run(diverging)
        assert "Lower the learning rate" in caught.value.next_step
        loop, losses, _ = make(tmp_path)
        assert loop.run(losses) == uninterrupted

    def test_gradients_that_are_no_numbers(self, tmp_path: Path) -> None:
        """The loss is finite, its gradient isn't: the step must not be taken, let alone be saved."""
        loop, losses, layer = make(tmp_path, every=1)

        def diverging(step: int) -> dict[str, torch.Tensor]:
            loss = losses(step)["loss"]
            # sqrt has an infinite slope at zero.
            return {"loss": loss + (layer.weight * 0).sum().sqrt() if step == 4 else loss}

        with pytest.raises(DivergedError, match="gradient of step 4"):
            loop.run(diverging)
        state = torch.load(tmp_path / "step-000004.pt", weights_only=True)
        assert state["step"] == 4
        assert all(value.isfinite().all() for value in state["parameters"].values())


class TestStates:
    def test_another_recipe_is_refused(self, tmp_path: Path) -> None:
        loop, losses, _ = make(tmp_path)
        loop.run(losses)
        other, losses, _ = make(tmp_path, identity="two")
        with pytest.raises(CheckpointError, match="belongs to another recipe") as caught:
            other.run(losses)
        assert "another run folder" in caught.value.next_step

    @pytest.mark.parametrize("keep", [0, 100, 0.5])
    def test_a_cut_state_is_named(
        self, tmp_path: Path, uninterrupted: list[float], keep: float
    ) -> None:
        loop, losses, _ = make(tmp_path)
        loop.run(losses)
        path = tmp_path / f"step-{STEPS:06d}.pt"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
        again, losses, _ = make(tmp_path)
        with pytest.raises(CheckpointError, match=r"step-000024\.pt can't be read") as caught:
            again.run(losses)
        assert "resume from step-000020.pt" in caught.value.next_step
        path.unlink()
        again, losses, _ = make(tmp_path)
        assert again.run(losses) == uninterrupted

    def test_killed_at_the_rename(
        self, tmp_path: Path, uninterrupted: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The state before is found, and the half new one is gone."""
        loop, losses, _ = make(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            loop.run(stop_at(losses, 12, KeyboardInterrupt()))

        def killed(path: Path, target: Path) -> Path:
            raise KeyboardInterrupt

        loop, losses, _ = make(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                loop.run(losses)
        assert not list(tmp_path.glob("*.partial"))
        # What kill -9 leaves there.
        (tmp_path / "step-000015.pt.0a1b2c3d.partial").write_bytes(b"half")
        loop, losses, _ = make(tmp_path)
        first = []
        assert loop.run(lambda step: first.append(step) or losses(step)) == uninterrupted
        assert first[0] == 10
        assert not list(tmp_path.glob("*.partial"))

    def test_the_newest_two_are_kept(self, tmp_path: Path) -> None:
        loop, losses, _ = make(tmp_path)
        loop.run(losses)
        assert sorted(path.name for path in tmp_path.glob("step-*")) == [
            "step-000020.pt",
            "step-000024.pt",
        ]

    def test_a_full_disk_keeps_what_is_there(
        self, tmp_path: Path, uninterrupted: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(state: Any, file: Any) -> None:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        loop, losses, _ = make(tmp_path)
        with monkeypatch.context() as patch:
            save = torch.save
            patch.setattr(
                torch,
                "save",
                lambda state, file: (full if state["step"] == 15 else save)(state, file),
            )
            with pytest.raises(DiskFullError, match="No space left") as caught:
                loop.run(losses)
        assert "step-000010.pt" in caught.value.next_step
        assert not list(tmp_path.glob("*.partial"))
        loop, losses, _ = make(tmp_path)
        assert loop.run(losses) == uninterrupted


def test_accumulated_batches_are_their_mean(tmp_path: Path) -> None:
    """Two halves of a batch give the step of the whole."""
    ends = []
    for parts in (1, 2):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 1)
        data = torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(1))
        batches = data.view(6 * parts, 8 // parts, 3)
        loop = TrainingLoop(
            tmp_path / str(parts),
            dict(layer.named_parameters()),
            dict.fromkeys(dict(layer.named_parameters()), 0.1),
            steps=6,
            identity="one",
            recipe=LoopRecipe(accumulation=parts),
        )
        loop.run(lambda batch: {"loss": layer(batches[batch]).pow(2).mean()})  # noqa: B023
        ends.append(layer.weight.detach().clone())
    torch.testing.assert_close(*ends)


def test_probes_and_tokens_are_recorded(tmp_path: Path) -> None:
    loop, losses, _ = make(tmp_path)
    loop.recipe = LoopRecipe(probe_every=10)
    loop.validate = lambda: {"probe_deu": 0.5}
    loop.run(lambda batch: losses(batch) | {"tokens": torch.tensor(100)})
    records = metrics(tmp_path)
    assert [record["step"] for record in records if "probe_deu" in record] == [10, 20, 24]
    assert all(record["tokens_per_s"] > 0 and "tokens" not in record for record in records)
    assert list((tmp_path / "tensorboard").iterdir())


def test_learning_rate_warms_up_and_falls_to_a_tenth(tmp_path: Path) -> None:
    loop, _, _ = make(tmp_path, steps=100)
    factors = [loop._schedule(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == pytest.approx(1.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0.1)
    assert all(0 < make(tmp_path, steps=1)[0]._schedule(step) <= 1 for step in range(3))


def test_progress_has_an_eta(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loop, losses, _ = make(tmp_path)
    with caplog.at_level("INFO", logger="lusifer_training.trainer.loop"):
        loop.run(losses)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith("step 10/24  loss ")
    assert "ETA" in lines[0]
