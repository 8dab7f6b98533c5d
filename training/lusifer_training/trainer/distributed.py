"""Run on one CPU, one GPU, or the processes that ``accelerate launch`` started.

Every process draws the same batch and computes its share of the vectors. The shares are gathered
with their gradients. So in-batch negatives come from all devices, and many devices give the same
gradient as one.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

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
    from torch.autograd.function import FunctionCtx

__all__ = ["Distributed", "choose_dtype"]

T = TypeVar("T")

MINIMUM_SPEEDUP = 1.5
"""Minimum speed of bf16, as a multiple of fp32, for bf16 to be used: it costs precision."""


class Distributed:
    """Know the device, the precision and the other processes.

    Attributes:
        device: Device of this process.
        dtype: Type of matrix products; weights, losses and optimiser stay in fp32.
        rank: Number of this process, from 0.
        world: Number of processes.
        sharded: Whether accelerate is configured for FSDP.
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
        """Return a context that runs matrix products in ``dtype``."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def shard(self, layers: Iterable[nn.Module], trained: Iterable[nn.Parameter]) -> None:
        """Spread the frozen weights of layers over the processes; do nothing without FSDP.

        Each process keeps its part, and receives the rest of a layer just before that layer runs.
        Trained parameters stay whole in every process: LoRA is small, and states and checkpoints
        are the same as without FSDP.

        Args:
            layers: Modules that run one after the other, the same number of times in every process.
            trained: Parameters that are not sharded.

        Raises:
            ConfigError: accelerate is configured for FSDP 1, which shards all parameters.
        """
        if not self.sharded:
            return
        plugin = FullyShardedDataParallelPlugin()
        if plugin.fsdp_version != 2:
            raise ConfigError(
                f"accelerate is configured for FSDP {plugin.fsdp_version}, and only 2 is "
                "supported.",
                next_step="Launch with --fsdp_version 2, or set fsdp_version: 2 in accelerate's "
                "file.",
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
        """Return the rows of a process; every process has the same number of rows.

        Args:
            rows: All rows. The last one may be in several shares.
            rank: Number of the process; this one by default.
        """
        first, each = self.rank if rank is None else rank, -(-len(rows) // self.world)
        return [rows[min(index * self.world + first, len(rows) - 1)] for index in range(each)]

    def gather(self, vectors: Tensor, total: int) -> Tensor:
        """Return the vectors of all processes ``(total, D)``, in the order before ``share``."""
        if self.world == 1:
            return vectors
        if self._alone:
            return vectors.repeat_interleave(self.world, dim=0)[:total]
        # (each, world, D): row index * world + rank.
        # torch leaves Function.apply untyped.
        gathered: Tensor = _Gather.apply(vectors, self.rank, self.world)  # type: ignore[no-untyped-call]
        return gathered.flatten(0, 1)[:total]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let ``gather`` not wait within the block, because the other processes do not call it.

        The process's own vectors replace theirs, so that a trial needs the memory of a real batch.
        """
        self._alone = True
        try:
            yield
        finally:
            self._alone = False

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average gradients over processes.

        Each process has the whole loss, but only the gradient through its own rows.
        """
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad, op=torch.distributed.ReduceOp.SUM)
            parameter.grad /= self.world

    def wait(self) -> None:
        """Wait until every process calls this."""
        if self.world > 1:
            torch.distributed.barrier()


if TYPE_CHECKING:

    class _GatherContext(FunctionCtx):
        rank: int


class _Gather(torch.autograd.Function):
    """Gather vectors ``(N, D)`` of every process to ``(N, world, D)``, with their gradients."""

    @staticmethod
    def forward(context: _GatherContext, vectors: Tensor, rank: int, world: int) -> Tensor:
        context.rank = rank
        parts = [torch.empty_like(vectors) for _ in range(world)]
        torch.distributed.all_gather(parts, vectors.contiguous())
        return torch.stack(parts, dim=1)

    @staticmethod
    def backward(context: _GatherContext, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient[:, context.rank], None, None


def choose_dtype(device: torch.device, *, size: int = 512) -> torch.dtype:
    """Choose bf16 where it measures faster than fp32, on a GPU or a CPU with AMX.

    Other CPUs are not measured, because they only emulate bf16. On a busy machine a measurement
    could make a resumed run choose another type than at its start.
    """
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported():
        return torch.float32
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.randn(size, size, device=device).to(dtype)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            # A GPU returns before it is done; reading a number waits for it.
            (left @ left)[0, 0].item()
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return (
        torch.bfloat16
        if seconds[torch.bfloat16] * MINIMUM_SPEEDUP < seconds[torch.float32]
        else torch.float32
    )
