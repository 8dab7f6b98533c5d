"""The training loop both stages share: AdamW, cosine schedule, progress with ETA, and resume after a kill."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import shutil
import time
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import clip_grad_norm_

from lusifer_training.errors import CheckpointError, DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

__all__ = ["TrainingLoop"]

_log = logging.getLogger(__name__)


class TrainingLoop:
    """Runs a stage to its last step, from its last checkpoint if there is one.

    Args:
        folder: Of this stage; holds ``metrics.jsonl`` and ``last/``.
        parameters: Trained parameters by name; all that a checkpoint holds of the model.
        learning_rates: Peak learning rate by the same names.
        steps: Optimiser steps of the whole stage.
        identity: Of the recipe; a checkpoint of another one is refused.
        checkpoint_every: Steps between checkpoints: what a kill can cost.
    """

    WARMUP_SHARE = 0.1
    CLIP_NORM = 1.0
    WEIGHT_DECAY = 0.01

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, torch.nn.Parameter],
        learning_rates: dict[str, float],
        *,
        steps: int,
        identity: str,
        checkpoint_every: int = 20,
    ) -> None:
        self.folder = folder
        self.parameters = parameters
        self.steps = steps
        self.identity = identity
        self.checkpoint_every = checkpoint_every
        self.optimizer = torch.optim.AdamW(
            [{"params": [value], "lr": learning_rates[name]} for name, value in parameters.items()],
            weight_decay=self.WEIGHT_DECAY,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._schedule)
        self.step = 0
        self.losses: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, losses_of_step: Callable[[int], dict[str, Tensor]]) -> list[float]:
        """Train to the last step.

        Args:
            losses_of_step: The losses of a step, ``loss`` being the one to follow; called once per step with
                its number, so it must draw its batch from that number alone.

        Returns:
            The loss of every step, those before a resume included.

        Raises:
            DivergedError: The loss is not finite; the last checkpoint is kept.
            CheckpointError: The checkpoint in the folder belongs to another recipe.
        """
        self._resume()
        start, start_step = time.monotonic(), self.step
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
            while self.step < self.steps:
                losses = losses_of_step(self.step)
                loss = losses["loss"]
                self._check_finite("loss", loss)
                loss.backward()
                norm = clip_grad_norm_(list(self.parameters.values()), self.CLIP_NORM)
                # A finite loss can have infinite gradients: one step more and the weights are NaN, and saved.
                self._check_finite("gradient", norm)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad(set_to_none=True)
                self.step += 1
                self.losses.append(loss.item())
                per_step_s = (time.monotonic() - start) / (self.step - start_step)
                record = {name: round(value.item(), 5) for name, value in losses.items()}
                record |= {"step": self.step, "gradient_norm": round(norm.item(), 4)}
                metrics.write(json.dumps(record) + "\n")
                metrics.flush()
                if self.step % 10 == 0 or self.step == self.steps:
                    remaining_s = per_step_s * (self.steps - self.step)
                    parts = " ".join(
                        f"{name} {value:.4f}" for name, value in record.items() if name != "step"
                    )
                    _log.info(
                        "step %d/%d  %s  %.1f s/step  ETA %d:%02d",
                        self.step, self.steps, parts, per_step_s, remaining_s // 60, remaining_s % 60,
                    )  # fmt: skip
                if self.step % self.checkpoint_every == 0 or self.step == self.steps:
                    self._save()
        return self.losses

    def _check_finite(self, what: str, value: Tensor) -> None:
        if not torch.isfinite(value):
            raise DivergedError(
                f"The {what} of step {self.step} is {value.item()}.",
                next_step=f"Lower the learning rate; {self.folder / 'last'} is the last good state.",
            )

    def _schedule(self, step: int) -> float:
        """Linear warm-up, then cosine to a tenth."""
        warmup = max(1, round(self.steps * self.WARMUP_SHARE))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def _save(self) -> None:
        """Write aside and rename: a kill leaves the old state or the new one, never half of it."""
        aside, last, old = (self.folder / name for name in ("last.new", "last", "last.old"))
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        state = {
            "identity": self.identity,
            "step": self.step,
            "losses": self.losses,
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": torch.get_rng_state(),
        }
        with (aside / "state.pt").open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        # After a resume from "last.old" there is no "last": the old state must outlive the next rename too.
        if last.exists():
            shutil.rmtree(old, ignore_errors=True)
            last.rename(old)
        aside.rename(last)
        shutil.rmtree(old, ignore_errors=True)

    def _resume(self) -> None:
        # Killed between the two renames, "last.old" is the newest complete state.
        candidates = [self.folder / name / "state.pt" for name in ("last", "last.old")]
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            self._drop_metrics_after(0)
            return
        try:
            state = torch.load(path, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} can't be read: {error}.", next_step="Delete the run folder to start again."
            ) from error
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{path} belongs to another recipe.",
                next_step="Choose another run folder, or delete this one to start again.",
            )
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        self.step, self.losses = state["step"], state["losses"]
        self._drop_metrics_after(self.step)
        _log.info("resuming at step %d of %d", self.step, self.steps)

    def _drop_metrics_after(self, step: int) -> None:
        """Forget the steps that a kill undid; the last line may be half written."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        path.write_text("".join(lines[:step]), encoding="utf-8")
