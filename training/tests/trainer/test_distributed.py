"""Device, precision, and processes: two give the gradients of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lusifer_training.errors import ConfigError
from lusifer_training.trainer.distributed import Distributed, choose_dtype

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("total", [1, 4, 7])
def test_shares_are_of_equal_number_and_make_the_whole(world: int, total: int) -> None:
    rows = [[number] for number in range(total)]
    shares = []
    for rank in range(world):
        distributed = Distributed()
        distributed.rank, distributed.world = rank, world
        shares.append(distributed.share(rows))
    assert len({len(share) for share in shares}) == 1
    # What gather does with the vectors of the rows.
    together = [row for each in zip(*shares, strict=True) for row in each][:total]
    assert together == rows


def test_a_cpu_that_only_emulates_bf16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: pytest.fail("measured"))
    assert choose_dtype(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("faster", "dtype"), [(3.0, torch.bfloat16), (1.2, torch.float32)])
def test_bf16_has_to_be_worth_it(
    monkeypatch: pytest.MonkeyPatch, faster: float, dtype: torch.dtype
) -> None:
    clock = iter(
        [
            value
            for seconds in (faster, 1.0)
            for at in range(8)
            for value in (10 * at, 10 * at + seconds)
        ]
    )
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(
        "lusifer_training.trainer.distributed.time.perf_counter", lambda: next(clock)
    )
    assert choose_dtype(torch.device("cpu"), size=4) == dtype


_STEP = """
import sys, torch
from pathlib import Path
from lusifer_training.data.batches import PairSampler
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.model.lusifer import build_model
from lusifer_training.recipe import load_recipe
recipe = load_recipe(Path(sys.argv[1]))
distributed = Distributed()
torch.manual_seed(0)
model = build_model(recipe.model).eval()
whole = sum(value.numel() for value in model.parameters())
distributed.shard(model.transformer_layers(), trained_parameters(model).values())
own = (value.to_local() if hasattr(value, "to_local") else value for value in model.parameters())
kept = sum(value.numel() for value in own)
generator = torch.Generator().manual_seed(1)
parameters = trained_parameters(model)
with torch.no_grad():
    for value in parameters.values():
        value.add_(torch.randn(value.shape, generator=generator) * 0.1)
changes = {"batch_pairs": 7, "matryoshka_dimensions": (8,), "group_tokens": 96}
stage = recipe.finetune.model_copy(update=changes)
objective = FinetuneObjective(model, load_tokenizer(recipe.model.tokenizer), stage, distributed)
losses = objective(PairSampler(recipe, Path("nowhere")).batch(0, 7))
losses["loss"].backward()
distributed.average_gradients(parameters.values())
if distributed.is_main:
    grads = {name: value.grad for name, value in parameters.items()}
    found = {"world": distributed.world, "loss": losses["loss"].detach(), "gradients": grads, "kept": kept / whole}
    torch.save(found, sys.argv[2])
distributed.wait()
if distributed.world > 1:
    torch.distributed.destroy_process_group()
"""


def two_processes(
    script: str, *arguments: str, folder: Path, **variables: str
) -> list[tuple[int, str]]:
    """Exit status and standard error of each of two processes, as `accelerate launch` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        **variables,
    }
    processes = []
    for rank in ("0", "1"):
        with (folder / f"{rank}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                env={**shared, "RANK": rank, "LOCAL_RANK": rank},
                stderr=log,
            )
        processes.append(process)
    try:
        statuses = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(status, (folder / f"{rank}.log").read_text()) for rank, status in enumerate(statuses)]


@pytest.fixture(scope="module")
def config(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.rootpath / "training" / "configs" / "tiny.yaml")


@pytest.fixture(scope="module")
def one(config: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of one process."""
    path = tmp_path_factory.mktemp("one") / "one.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["step", config, str(path)])
        exec(compile(_STEP, "step", "exec"), {})  # noqa: S102 - a test's own text, as its processes run it
    return torch.load(path, weights_only=True)


FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.parametrize("variables", [{}, FSDP], ids=["ddp", "fsdp"])
def test_two_processes_give_the_gradients_of_one(
    variables: dict[str, str], config: str, one: dict[str, Any], tmp_path: Path
) -> None:
    for status, log in two_processes(
        _STEP, config, str(tmp_path / "two.pt"), folder=tmp_path, **variables
    ):
        assert status == 0, log[-2000:]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert (one["world"], two["world"]) == (1, 2)
    # Tokens' embeddings, and what is trained, stay whole.
    assert two["kept"] < 0.9 if variables else two["kept"] == 1
    torch.testing.assert_close(two["loss"], one["loss"])
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_fsdp_1_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_VERSION", "1")
    distributed = Distributed()
    distributed.sharded = True
    with pytest.raises(ConfigError, match="--fsdp_version 2"):
        distributed.shard([], [])


_FULL = """
import sys, torch
from pathlib import Path
from lusifer_training.objectives.finetune import FinetuneObjective
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.recipe import load_recipe
from lusifer_training.trainer.pipeline import train
embed = FinetuneObjective._embed
def full(objective, rows, model):
    if Distributed().rank == 1 and len(rows) > 8 and torch.is_grad_enabled():
        torch.empty(1 << 58, dtype=torch.uint8)
    return embed(objective, rows, model)
FinetuneObjective._embed = full
recipe = load_recipe(Path(sys.argv[1]))
train(recipe.model_copy(update={"align": None}), data_folder=Path("nowhere"), run_folder=Path(sys.argv[2]))
"""


def test_a_process_that_runs_out_of_memory_says_what_fits_and_ends_the_others(
    config: str, tmp_path: Path
) -> None:
    """The memory is really asked for, and refused by torch's allocator of a CPU."""
    (first, _), (second, log) = two_processes(_FULL, config, str(tmp_path / "run"), folder=tmp_path)
    assert first != 0
    assert second != 0
    assert "TooLargeError: Batch 0 doesn't fit into memory" in log
    assert "finetune.batch_pairs 4 fits" in log
