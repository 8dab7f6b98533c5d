"""Device, precision, and processes: two give the gradients of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from lusifer_training.engine import Engine, choose_dtype

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("total", [1, 4, 7])
def test_shares_are_of_equal_number_and_make_the_whole(world: int, total: int) -> None:
    rows = [[number] for number in range(total)]
    shares = []
    for rank in range(world):
        engine = Engine()
        engine.rank, engine.world = rank, world
        shares.append(engine.share(rows))
    assert len({len(share) for share in shares}) == 1
    # What gather does with the vectors of the rows.
    together = [row for each in zip(*shares, strict=True) for row in each][:total]
    assert together == rows


def test_a_cpu_that_only_emulates_bf16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: pytest.fail("measured"))
    assert choose_dtype(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("faster", "dtype"), [(3.0, torch.bfloat16), (1.2, torch.float32)])
def test_bf16_has_to_be_worth_it(monkeypatch: pytest.MonkeyPatch, faster: float, dtype: torch.dtype) -> None:
    clock = iter(
        [value for seconds in (faster, 1.0) for at in range(8) for value in (10 * at, 10 * at + seconds)]
    )
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr("lusifer_training.engine.time.perf_counter", lambda: next(clock))
    assert choose_dtype(torch.device("cpu"), size=4) == dtype


_STEP = """
import sys, torch
from pathlib import Path
from lusifer_training.data.batches import PairSampler
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import trained_parameters
from lusifer_training.engine import Engine
from lusifer_training.finetune import FinetuneObjective
from lusifer_training.model.lusifer import build_model
from lusifer_training.recipe import load_recipe
recipe = load_recipe(Path(sys.argv[1]))
engine = Engine()
torch.manual_seed(0)
model = build_model(recipe.model).eval()
generator = torch.Generator().manual_seed(1)
parameters = trained_parameters(model)
with torch.no_grad():
    for value in parameters.values():
        value.add_(torch.randn(value.shape, generator=generator) * 0.1)
changes = {"batch_pairs": 7, "matryoshka_dimensions": (8,), "group_tokens": 96}
stage = recipe.finetune.model_copy(update=changes)
objective = FinetuneObjective(model, load_tokenizer(recipe.model.tokenizer), stage, engine)
losses = objective(PairSampler(recipe, Path("nowhere")).batch(0, 7))
losses["loss"].backward()
engine.average_gradients(parameters.values())
if engine.is_main:
    grads = {name: value.grad for name, value in parameters.items()}
    torch.save({"world": engine.world, "loss": losses["loss"].detach(), "gradients": grads}, sys.argv[2])
engine.wait()
if engine.world > 1:
    torch.distributed.destroy_process_group()
"""


def test_two_processes_give_the_gradients_of_one(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(pytestconfig.rootpath / "training" / "configs" / "tiny.yaml")
    monkeypatch.setattr(sys, "argv", ["step", config, str(tmp_path / "one.pt")])
    exec(compile(_STEP, "step", "exec"), {})  # noqa: S102 - a test's own text, as its processes run it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `accelerate launch` gives to its processes.
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    processes = []
    for rank in ("0", "1"):
        with (tmp_path / f"{rank}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _STEP, config, str(tmp_path / "two.pt")],
                env={**shared, "RANK": rank, "LOCAL_RANK": rank},
                stderr=log,
            )
        processes.append(process)
    try:
        for rank, process in enumerate(processes):
            assert process.wait(timeout=300) == 0, (tmp_path / f"{rank}.log").read_text()[-2000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert (one["world"], two["world"]) == (1, 2)
    torch.testing.assert_close(two["loss"], one["loss"])
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
