"""Where training runs: one CPU, one GPU, or the processes that ``accelerate launch`` started.

Every process draws the same batch and computes its share of the vectors; the shares are gathered
with their gradients, so that in-batch negatives come from all devices and many devices give the
gradient of one.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import nn

__all__ = ["Distributed", "choose_dtype"]

T = TypeVar("T")

WORTH_IT = 1.5
"""How much faster bf16 must be to be used: it costs precision."""


class Distributed:
    """Device, precision and the other processes.

    Attributes:
        device: Of this process.
        dtype: Of matrix products; weights, losses and optimiser stay in fp32.
        rank: Number of this process, of ``world``.
        sharded: Whether accelerate's configuration says FSDP.
    """

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.device: torch.device = state.device
        self.rank: int = state.process_index
        self.world: int = state.num_processes
        self.sharded = (
            self.world > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        )
        self.dtype = choose_dtype(self.device)
        self._alone = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """Run matrix products in ``dtype``."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def shard(self, layers: Iterable[nn.Module], trained: Iterable[nn.Parameter]) -> None:
        """With FSDP, spread the frozen weights of layers over the processes; without it, do nothing.

        Each process keeps its part and is given the rest of a layer just before that runs. What is
        trained stays whole in every process: LoRA is small, and states and checkpoints are those of
        any other run.

        Args:
            layers: Modules that run one after the other, the same number of times in every process.
            trained: Parameters to leave alone.

        Raises:
            ConfigError: accelerate's configuration says FSDP 1, which can't leave parameters alone.
        """
        if not self.sharded:
            return
        plugin = FullyShardedDataParallelPlugin()
        if plugin.fsdp_version != 2:
            raise ConfigError(
                f"accelerate is configured for FSDP {plugin.fsdp_version}, and only 2 is supported.",
                next_step="Launch with --fsdp_version 2, or set fsdp_version: 2 in accelerate's file.",
            )
        mesh = init_device_mesh(self.device.type, (self.world,))
        ignored = set(trained)
        for layer in layers:
            fully_shard(
                layer,
                mesh=mesh,
                reshard_after_forward=plugin.reshard_after_forward,
                offload_policy=plugin.cpu_offload,
                ignored_params=ignored,
            )

    def share(self, rows: Sequence[T], *, rank: int | None = None) -> list[T]:
        """A process's rows, this one's by default, as many as every other's: the last one may come twice."""
        first, each = self.rank if rank is None else rank, -(-len(rows) // self.world)
        return [rows[min(index * self.world + first, len(rows) - 1)] for index in range(each)]

    def gather(self, vectors: Tensor, total: int) -> Tensor:
        """All processes' vectors ``(total, D)`` in the order of the rows that ``share`` was given."""
        if self.world == 1:
            return vectors
        if self._alone:
            return vectors.repeat_interleave(self.world, dim=0)[:total]
        # (each, world, D): row index * world + rank.
        return _Gather.apply(vectors, self.rank, self.world).flatten(0, 1)[:total]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block ``gather`` doesn't wait: for what the other processes take no part in.

        Our own vectors stand for theirs, so that a trial needs the memory of a real batch.
        """
        self._alone = True
        try:
            yield
        finally:
            self._alone = False

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Mean over processes: each has the whole loss, but only its own rows' way to it."""
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad, op=torch.distributed.ReduceOp.SUM)
            parameter.grad /= self.world

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            torch.distributed.barrier()


class _Gather(torch.autograd.Function):
    """Vectors ``(N, D)`` of every process to ``(N, world, D)``, and the gradients of all of them back."""

    @staticmethod
    def forward(context: Any, vectors: Tensor, rank: int, world: int) -> Tensor:
        context.rank = rank
        parts = [torch.empty_like(vectors) for _ in range(world)]
        torch.distributed.all_gather(parts, vectors.contiguous())
        return torch.stack(parts, dim=1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient[:, context.rank], None, None


def choose_dtype(device: torch.device, *, size: int = 512) -> torch.dtype:
    """bf16 where it measures faster than fp32, on a GPU or a CPU with AMX.

    Other CPUs are not measured: they only emulate bf16, and a busy machine could make a resumed run
    choose otherwise than it began.
    """
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported():
        return torch.float32
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.randn(size, size, device=device).to(dtype)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            # A GPU answers before it is done; reading a number waits.
            (left @ left)[0, 0].item()
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return (
        torch.bfloat16
        if seconds[torch.bfloat16] * WORTH_IT < seconds[torch.float32]
        else torch.float32
    )
