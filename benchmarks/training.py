"""Tokens per second of both training stages beside what the machine's matrix products reach, on this machine.

::

    python benchmarks/training.py --debian debian.jsonl            # a table on standard output, in minutes
    python benchmarks/training.py --debian debian.jsonl --write    # and into docs/results.md

The first steps of the default recipe, on its own data, from the metrics that training writes.
Operations are counted from shapes: two for every weight a token passes forward, and again on the
way back as far as something is trained. Padding, attention scores, norms, losses and the optimiser
are not counted: they are the gap. Run it alone: a second heavy process halves everything."""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from benchmarks.report import add_data_options, parser_for, small_recipe, write_table

from lusifer_training.trainer.cost_estimate import estimate, matrix_peak_flops
from lusifer_training.trainer.distributed import Distributed
from lusifer_training.trainer.pipeline import train

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = parser_for(__doc__)
    add_data_options(parser)
    parser.add_argument(
        "--steps", type=int, default=6, help="of each stage; the first is not counted"
    )
    options = parser.parse_args()

    recipe = small_recipe(options.debian)
    align = recipe.align and recipe.align.model_copy(update={"steps": options.steps})
    finetune = recipe.finetune.model_copy(update={"steps": options.steps})
    recipe = recipe.model_copy(update={"align": align, "finetune": finetune})
    _, stages = estimate(recipe, options.data)
    peak = matrix_peak_flops(2048, seconds=5)
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, data_folder=options.data, run_folder=Path(folder))
        for stage in stages:
            records = (
                (Path(folder) / stage.name / "metrics.jsonl")
                .read_text(encoding="utf-8")
                .splitlines()
            )
            speeds[stage.name] = statistics.median(
                json.loads(line)["tokens_per_s"] for line in records[1:]
            )
    peak = max(peak, matrix_peak_flops(2048, seconds=5))
    lines = ["| stage | tokens/s | GFLOP/s (of peak) |", "|---|---:|---:|"]
    for stage in stages:
        flops = speeds[stage.name] * stage.flops / stage.tokens
        lines.append(
            f"| {stage.name} | {speeds[stage.name]:,.0f} | {flops / 1e9:.0f} ({flops / peak:.0%}) |"
        )
    dtype = str(Distributed().dtype).removeprefix("torch.")
    where = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} threads"
    )
    text = "\n".join(
        [
            *lines,
            "",
            f"{where}, {dtype}, PyTorch {torch.__version__}; matrix peak (2048 x 2048, fp32) "
            f"{peak / 1e9:.0f} GFLOP/s. Median of {options.steps - 1} steps of the default recipe. "
            f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}. Command: `python benchmarks/training.py`.",
        ]
    )
    print(text)
    if options.write:
        write_table("training", text)


if __name__ == "__main__":
    main()
