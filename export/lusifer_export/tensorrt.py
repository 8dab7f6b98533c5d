"""TensorRT engines from a bundle's graph, with a profile for each length bucket.

The graph defines which products are in half precision (:mod:`lusifer_export.half`), and the network
is strongly typed. So TensorRT may not lower LayerNorm, softmax or pooling, where fp16 overflows.

An engine is tied to the GPU's model and TensorRT's version; its name holds both. It lies in the
bundle's ``engines/``, outside the manifest, because each machine has its own.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.common.files import atomic_writer, write_atomic
from lusifer.engines.graph import INPUTS
from lusifer_export.errors import TensorRtError, translate_full_disk
from lusifer_export.triton.config import length_buckets

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from lusifer.bundle.format import Bundle, Manifest

__all__ = ["Profile", "build_engine", "engine_name", "profiles", "require_gpu", "require_tensorrt"]

WORKSPACE_BYTES = 4 * 2**30
BATCH_TOKENS = 16_384
"""Number of tokens in the largest batch of a profile."""
MAXIMUM_BATCH = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """Range of shapes ``(B, T)`` with one set of kernels, chosen for the optimum."""

    minimum: tuple[int, int]
    optimum: tuple[int, int]
    maximum: tuple[int, int]


def profiles(maximum_tokens: int) -> list[Profile]:
    """Return one profile for each length bucket; its optimum is the upper end."""
    found, shortest = [], 1
    for tokens in length_buckets(maximum_tokens):
        batch = max(1, min(MAXIMUM_BATCH, BATCH_TOKENS // tokens))
        found.append(Profile((1, shortest), (max(1, batch // 2), tokens), (batch, tokens)))
        shortest = tokens + 1
    return found


def engine_name(gpu: str, version: str, manifest: Manifest) -> str:
    """Return the file name of an engine: what it is tied to, and what it computes."""
    model = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return f"{model}_tensorrt-{version}_{manifest.precision}_{manifest.fingerprint[7:19]}.plan"


def require_tensorrt() -> ModuleType:
    """Import the module ``tensorrt``.

    Raises:
        TensorRtError: It is not installed.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise TensorRtError(
            f"The Python package tensorrt is missing: {error}.",
            next_step="Run pip install tensorrt on a machine with an NVIDIA GPU, or use --triton "
            "with --device gpu-tensorrt, where the server builds its engines.",
        ) from error


def require_gpu() -> str:
    """Return the name of the first GPU.

    Raises:
        TensorRtError: There is no NVIDIA GPU, or no driver.
    """
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TensorRtError(
            f"No NVIDIA driver answers on this machine: {error}.",
            next_step="Build the engine on the machine with the GPU that will run it.",
        ) from error
    names = done.stdout.strip().splitlines()
    if done.returncode or not names:
        raise TensorRtError(
            f"nvidia-smi finds no GPU: {(done.stderr or done.stdout).strip()[:300]}.",
            next_step="Check the driver, or build the engine on the machine that has the GPU.",
        )
    return names[0].strip()


def build_engine(bundle: Bundle) -> Path:
    """Build the engine of a bundle for this GPU and TensorRT, unless it exists.

    Returns:
        Path of the engine in the bundle's ``engines/``. A JSON file beside it notes what it was
        built from, and with which versions.

    Raises:
        TensorRtError: TensorRT or a GPU is missing, or TensorRT refuses the graph.
        NoSpaceError: The disk is full; no half engine is left.
    """
    if bundle.manifest.precision.startswith("int"):
        raise TensorRtError(
            f"TensorRT has no operator for the blocks of {bundle.manifest.precision}.",
            next_step="Export with --precision fp16, bf16 or fp32.",
        )
    tensorrt = require_tensorrt()
    gpu = require_gpu()
    folder = bundle.path / "engines"
    target = folder / engine_name(gpu, tensorrt.__version__, bundle.manifest)
    if target.is_file():
        return target
    folder.mkdir(exist_ok=True)
    _log.info("building %s, which takes minutes", target.name)
    plan = _build_plan(tensorrt, bundle, folder / "timing.cache")
    notes = {
        "gpu": gpu,
        "tensorrt": tensorrt.__version__,
        "fingerprint": bundle.manifest.fingerprint,
        "precision": bundle.manifest.precision,
        "profiles": [[each.minimum, each.optimum, each.maximum] for each in _profiles(bundle)],
    }
    write_atomic(target.with_suffix(".json"), json.dumps(notes, indent=2) + "\n")
    _write(target, plan)
    return target


def _profiles(bundle: Bundle) -> list[Profile]:
    return profiles(bundle.manifest.maximum_tokens)


def _build_plan(tensorrt: ModuleType, bundle: Bundle, timing_cache: Path) -> memoryview:
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(
        1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = tensorrt.OnnxParser(network, logger)
    # By path, so that the weights beside the graph are found.
    if not parser.parse_from_file(str(bundle.model_path)):
        problems = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise TensorRtError(
            f"TensorRT {tensorrt.__version__} can't read {bundle.model_path}: {problems}.",
            next_step="Use the newest TensorRT, or serve the graph with ONNX Runtime.",
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    known = timing_cache.read_bytes() if timing_cache.is_file() else b""
    config.set_timing_cache(config.create_timing_cache(known), False)
    for each in _profiles(bundle):
        profile = builder.create_optimization_profile()
        for name in INPUTS:
            profile.set_shape(name, each.minimum, each.optimum, each.maximum)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRtError(
            f"TensorRT {tensorrt.__version__} built no engine from {bundle.model_path}.",
            next_step="Read its log above; most often the GPU's memory is too small or in use.",
        )
    _write(timing_cache, memoryview(config.get_timing_cache().serialize()))
    return memoryview(plan)


def _write(path: Path, content: memoryview) -> None:
    full_disk = translate_full_disk(
        f"No space left for {path}.", next_step="Free about 1 GB there and run the command again."
    )
    with full_disk, atomic_writer(path) as file:
        file.write(content)
