"""The training loop of all stages: AdamW, cosine schedule, progress, resume after a kill."""

from __future__ import annotations

import logging
import math
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import clip_grad_norm_

from lusifer_training.errors import CheckpointError, DivergedError, TooLargeError
from lusifer_training.memory import is_out_of_memory
from lusifer_training.recipe import LoopRecipe
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.metric_log import MetricLog
from lusifer_training.trainer.run_state import RunStates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from torch import Tensor

    LossesOfBatch: TypeAlias = Callable[[int], dict[str, Tensor]]

__all__ = ["TrainingLoop"]

_log = logging.getLogger(__name__)


class TrainingLoop:
    """Run a stage to its last step, from its newest state if there is one.

    Args:
        folder: Folder of this stage; holds ``metrics.jsonl``, ``tensorboard/`` and states.
        parameters: Trained parameters by name. A state holds nothing else of the model.
        learning_rates: Peak learning rate by the same names.
        steps: Optimiser steps of the whole stage.
        identity: Hash of recipe and backbones; a state of others is refused.
        recipe: Schedule, clipping, accumulation, and intervals of validation and states.
        distributed: Device and other processes.
        describe: Returns the contents of a batch, for messages.
        advice: Returns the next step for a batch that doesn't fit into memory.
        validate: Returns scores on held-out text by name.
    """

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, torch.nn.Parameter],
        learning_rates: dict[str, float],
        *,
        steps: int,
        identity: str,
        recipe: LoopRecipe | None = None,
        distributed: Distributed | None = None,
        describe: Callable[[int], str] | None = None,
        advice: Callable[[int], str] | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        self.folder = folder
        self.parameters = parameters
        self.steps = steps
        self.identity = identity
        self.recipe = recipe or LoopRecipe()
        self.distributed = distributed or Distributed()
        self.describe = describe or (lambda batch: f"batch {batch}")
        self.advice = advice or (lambda batch: "Make the batch smaller.")
        self.validate = validate
        self.optimizer = torch.optim.AdamW(
            [{"params": [value], "lr": learning_rates[name]} for name, value in parameters.items()],
            weight_decay=self.recipe.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._schedule)
        self.states = RunStates(folder, keep=self.recipe.keep_states)
        self.step = 0
        self.losses: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, losses_of_batch: LossesOfBatch) -> list[float]:
        """Train to the last step.

        Args:
            losses_of_batch: Returns the losses of a batch by its number; it must draw the batch
                from that number alone. ``loss`` is minimised, ``tokens`` is a count, other entries
                are logged.

        Returns:
            The loss of every step, those before a resume included.

        Raises:
            DivergedError: The loss is not finite; the last state is kept.
            CheckpointError: The state in the folder belongs to another recipe or backbone.
            DiskFullError: A state can't be written; the earlier states are kept.
            TooLargeError: A batch doesn't fit into memory.
        """
        self._resume()
        start, start_step = time.monotonic(), self.step
        metrics = MetricLog(self.folder, steps_done=self.step) if self.distributed.is_main else None
        with closing(metrics) if metrics else nullcontext():
            while self.step < self.steps:
                record = self._one_step(losses_of_batch)
                if self._due(self.recipe.probe_every) and self.validate:
                    record |= self.validate()
                if metrics:
                    metrics.write(record)
                per_step_s = (time.monotonic() - start) / (self.step - start_step)
                if self._due(10):
                    self._log_progress(record, per_step_s)
                if self._due(self.recipe.save_every):
                    self._save()
        return self.losses

    def _one_step(self, losses_of_batch: LossesOfBatch) -> dict[str, float]:
        start, parts = time.monotonic(), self.recipe.accumulation
        record: dict[str, float] = {}
        for part in range(parts):
            number = self.step * parts + part
            losses = self._backward(losses_of_batch, number, parts)
            for name, value in losses.items():
                record[name] = record.get(name, 0.0) + value.item() / (
                    1 if name == "tokens" else parts
                )
        self.distributed.average_gradients(self.parameters.values())
        norm = clip_grad_norm_(list(self.parameters.values()), self.recipe.clip_norm)
        # A finite loss can have infinite gradients. Without this check the next step would make
        # the weights NaN, and a state would keep them.
        self._check_finite("gradient", norm, number)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.losses.append(record["loss"])
        record = {name: round(value, 5) for name, value in record.items()}
        record |= {"step": self.step, "gradient_norm": round(norm.item(), 4)}
        if tokens := record.pop("tokens", 0):
            record["tokens_per_s"] = round(tokens / (time.monotonic() - start), 1)
        return record

    def _backward(
        self, losses_of_batch: LossesOfBatch, number: int, parts: int
    ) -> dict[str, Tensor]:
        try:
            losses = losses_of_batch(number)
            self._check_finite("loss", losses["loss"], number)
            torch.autograd.backward(losses["loss"] / parts)
            return losses
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"Batch {number} doesn't fit into memory: {error}."
        # Outside the handler: its traceback would keep the batch's tensors while smaller batches
        # are tried.
        self.optimizer.zero_grad(set_to_none=True)
        raise TooLargeError(message, next_step=self.advice(number))

    def _due(self, every: int | None) -> bool:
        return every is not None and (self.step % every == 0 or self.step == self.steps)

    def _log_progress(self, record: dict[str, float], per_step_s: float) -> None:
        remaining_s = per_step_s * (self.steps - self.step)
        parts = " ".join(f"{name} {value:.4f}" for name, value in record.items() if name != "step")
        _log.info(
            "step %d/%d  %s  %.1f s/step  ETA %d:%02d",
            self.step, self.steps, parts, per_step_s, remaining_s // 60, remaining_s % 60,
        )  # fmt: skip

    def _check_finite(self, what: str, value: Tensor, batch: int) -> None:
        if not torch.isfinite(value):
            paths = self.states.paths()
            raise DivergedError(
                f"The {what} of step {self.step} is {value.item()}, in {self.describe(batch)}.",
                next_step="Lower the learning rate or check that batch; "
                f"{paths[-1] if paths else 'the untrained model'} is the last good state.",
            )

    def _schedule(self, step: int) -> float:
        """Return the factor of the learning rate: linear warm-up, then cosine to a tenth."""
        warmup = max(1, round(self.steps * self.recipe.warmup_share))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.1 + 0.9 * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def _save(self) -> None:
        if self.distributed.is_main:
            self.states.save(
                {
                    "identity": self.identity,
                    "step": self.step,
                    "losses": self.losses,
                    "parameters": {
                        name: value.detach().cpu() for name, value in self.parameters.items()
                    },
                    "optimizer": self.optimizer.state_dict(),
                    "scheduler": self.scheduler.state_dict(),
                    "rng": torch.get_rng_state(),
                    "gpu_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                }
            )
        self.distributed.wait()

    def _resume(self) -> None:
        newest = self.states.newest()
        if newest is None:
            return
        path, state = newest
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{path} belongs to another recipe, or to other files of its backbones.",
                next_step="Choose another run folder, or delete this one to start again.",
            )
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        # Another machine may have fewer GPUs.
        for index, rng in enumerate(state["gpu_rng"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(rng, index)
        self.step, self.losses = state["step"], state["losses"]
        _log.info("resuming at step %d of %d", self.step, self.steps)
