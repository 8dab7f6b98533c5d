"""Peak memory of exporting random weights in the shapes of the paper: XLM-R-large and Mistral-7B.

::

    python benchmarks/export_memory.py               # all 32 layers: 25 GB of disk, ten minutes
    python benchmarks/export_memory.py --layers 4    # fewer, to see what a layer costs
    python benchmarks/export_memory.py --write       # and into docs/results.md

The checkpoint is written and exported in processes of their own. Two peaks stand beside each step:
memory that is the process's own, and with it what it has mapped of files, which the system takes
back when it needs to. The gate is left out: its 1,192 texts through 7 billion parameters in fp32
take hours on two cores. Two texts go through PyTorch and through the exported graph instead."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from benchmarks.report import parser_for, write_table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("plugin", "training", "export"))]

from benchmarks.embed_documents import forget_peak_memory, peak_memory_mib

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS = 32
VOCABULARY = 250_037
"""Vocabulary of the default model's tokenizer, which stands in for XLM-R-large's 250,002."""


def write_checkpoint(folder: Path, layers: int) -> None:
    """Write random backbones as the hub has them, the encoder in fp32 and the LLM in bf16, and a checkpoint."""
    import torch
    from transformers import MistralConfig, MistralModel, XLMRobertaConfig, XLMRobertaModel

    from lusifer_training.checkpoint import save_checkpoint
    from lusifer_training.config import BackboneSource, ModelConfig, default_checkpoint, read_config
    from lusifer_training.model.lusifer import build_model

    encoder = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    with torch.device("meta"):
        shapes = XLMRobertaModel(encoder, add_pooling_layer=False)
        llm = MistralModel(MistralConfig(num_hidden_layers=layers, bos_token_id=1))
    write_backbone(folder / "encoder", shapes, torch.float32)
    write_backbone(folder / "llm", llm, torch.bfloat16)
    config = ModelConfig(
        name=f"paper-{layers}",
        encoder=BackboneSource(location=f"folder:{folder / 'encoder'}", format="huggingface"),
        llm=BackboneSource(location=f"folder:{folder / 'llm'}", format="huggingface"),
        tokenizer=read_config(default_checkpoint()).tokenizer,
        connector_hidden=4096,
        output_dimension=4096,
        residual=False,
    )
    save_checkpoint(build_model(config, llm_dtype="auto"), folder / "checkpoint", {"steps": 0})


def write_backbone(folder: Path, model: Any, dtype: Any) -> None:
    """Write a Hugging Face folder of random weights, a file for each layer."""
    import torch
    from safetensors.torch import save_file

    model.config.architectures, model.config.dtype = [type(model).__name__], dtype
    model.config.save_pretrained(folder)
    torch.manual_seed(0)
    files: dict[str, dict[str, Any]] = {}
    for name, value in model.state_dict().items():
        part = next((each for each in name.split(".") if each.isdigit()), "rest")
        files.setdefault(f"model-{part}.safetensors", {})[name] = value.shape
    for file, shapes in files.items():
        tensors = {
            name: (torch.randn(shape) * 0.02 if len(shape) > 1 else torch.ones(shape)).to(dtype)
            for name, shape in shapes.items()
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


class Step:
    """Seconds and peaks of one step."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.own_mib = 0.0
        self.resident_mib = 0.0


@contextlib.contextmanager
def measured(steps: dict[str, Step], name: str) -> Iterator[None]:
    """Note a step's seconds, and the peaks of its memory."""
    step = steps[name] = Step()
    forget_peak_memory()
    done = threading.Event()

    def watch() -> None:
        while True:
            step.own_mib = max(step.own_mib, own_memory_mib())
            if done.wait(0.02):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    started_s = time.perf_counter()
    try:
        yield
    finally:
        step.seconds = time.perf_counter() - started_s
        done.set()
        watcher.join()
        step.resident_mib = peak_memory_mib() or 0.0
        # At once, in case a later step is killed.
        print(
            f"{name}: {step.own_mib:,.0f} MiB, {step.resident_mib:,.0f}",
            file=sys.stderr,
            flush=True,
        )


def own_memory_mib() -> float:
    """Return the resident memory that is no page of a file."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def export(folder: Path, precision: Any) -> dict[str, Any]:
    """Do what ``lusifer export`` does, step by step."""
    import torch

    from lusifer.engines.onnx import OnnxEngine
    from lusifer_export.build import write_lowered
    from lusifer_export.graph import trace_graph, weight_reader
    from lusifer_export.weights import WeightStore, fp32_arithmetic
    from lusifer_training.checkpoint import load_checkpoint

    steps: dict[str, Step] = {}
    with measured(steps, "load the checkpoint"):
        model = load_checkpoint(folder / "checkpoint", llm_dtype="auto")
    parameters = sum(value.numel() for value in model.parameters())
    with measured(steps, "trace the graph"):
        traced = trace_graph(model)
    ids = np.arange(100, 116).reshape(2, 8)
    mask = np.ones_like(ids)
    with (
        measured(steps, "embed two texts with PyTorch"),
        fp32_arithmetic(model),
        torch.inference_mode(),
    ):
        expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    target = folder / "bundle" / "model.onnx"
    target.parent.mkdir()
    with measured(steps, f"write the graph in {precision}"):
        write_lowered(traced, WeightStore(weight_reader(model), target), precision)
    with measured(steps, "embed them with ONNX Runtime"):
        engine = OnnxEngine(target)
        found = engine.run(ids, mask)
    files = [path.stat().st_size for path in target.parent.iterdir()]
    return {
        "parameters": parameters,
        "bytes": sum(files),
        "files": len(files),
        "cosine": float((found * expected).sum(axis=1).min()),
        "steps": {name: vars(step) for name, step in steps.items()},
    }


def in_process(arguments: list[str]) -> str:
    """Run this script in a new process: memory of one job must not count against the next."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The process for {arguments[-1]} ended with status {done.returncode}.")
    return done.stdout


def markdown(report: dict[str, Any], options: argparse.Namespace) -> str:
    """Format the table, and what it was measured on."""
    steps = report["steps"]
    lines = [
        "| step | seconds | peak of its own | with mapped files |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {step['seconds']:,.0f} | {step['own_mib'] / 1024:.1f} GiB "
            f"| {step['resident_mib'] / 1024:.1f} GiB |"
            for name, step in steps.items()
        ),
        "",
        f"XLM-R-large and {options.layers} of Mistral-7B's {LAYERS} layers, random weights: "
        f"{report['parameters'] / 1e9:.2f} billion parameters, {report['parameters'] * 4 / 2**30:.1f} GiB in "
        f"fp32. Written in {options.precision}: {report['bytes'] / 1e9:.1f} GB in {report['files']} files; "
        f"least cosine to PyTorch {report['cosine']:.4f}. {os.cpu_count()} cores, "
        f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory, "
        f"{datetime.datetime.now(tz=datetime.UTC).date()}. "
        f"Command: `python benchmarks/export_memory.py --layers {options.layers}`.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write a checkpoint, export it, print the table."""
    parser = parser_for(__doc__)
    parser.add_argument(
        "--layers", type=int, default=LAYERS, help=f"of the LLM (default: {LAYERS})"
    )
    parser.add_argument("--precision", default="int8-dynamic", help="default: int8-dynamic")
    parser.add_argument(
        "--scratch", type=Path, help="folder on a disk with room (default: the system's)"
    )
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job, folder = options.job[0], Path(options.job[1])
        if job == "checkpoint":
            write_checkpoint(folder, options.layers)
        else:
            print(json.dumps(export(folder, options.precision)))
        return
    common = ["--layers", str(options.layers), "--precision", options.precision]
    with tempfile.TemporaryDirectory(prefix="lusifer-export-", dir=options.scratch) as folder:
        print("write a checkpoint", file=sys.stderr, flush=True)
        in_process([*common, "--job", "checkpoint", folder])
        report = json.loads(in_process([*common, "--job", "export", folder]).splitlines()[-1])
    table = markdown(report, options)
    print(table)
    if options.write:
        write_table("export_memory", table)


if __name__ == "__main__":
    main()
