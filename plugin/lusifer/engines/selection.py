"""Opens the engine that was named, or the fastest on this machine, measured once and stored.

Speeds differ by an order of magnitude between processors: bf16 is the best choice where a chip
multiplies it and the worst where it does not. So ``auto`` measures. Each candidate must first give
the right vectors on this machine, because a kernel can be wrong on one kind of processor only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from lusifer.bundle.probe import read_probe
from lusifer.common.files import write_atomic
from lusifer.common.paths import cache_directory, make_private
from lusifer.engines.cpu import describe_cpu, usable_cores
from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import EngineError, LusiferError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle
    from lusifer.engines.base import Engine

__all__ = [
    "Choice",
    "EngineName",
    "Trial",
    "choose_engine",
    "default_engine",
    "kept_choice",
    "open_engine",
]

EngineName: TypeAlias = Literal["onnx", "openvino", "openvino-bf16", "auto"]

BUDGET_S = 3.0
"""Seconds after which no further candidate is tried."""
MINIMUM_COSINE = 0.98
"""Lowest cosine to PyTorch fp32 of any text of the probe. Bundles have passed a stricter gate; this
one finds kernels that are wrong on this processor."""
_ROWS = 8
_QUERY_TOKENS = 12

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """Measurement of one candidate."""

    engine: str
    worst_cosine: float | None = None
    """Lowest cosine to PyTorch fp32 over the probe's texts."""
    query_ms: float | None = None
    """Time for one text of 12 tokens, the best of three."""
    tokens_per_s: float | None = None
    """Throughput for a batch of eight texts."""
    problem: str | None = None
    """Reason why it can't be chosen."""
    skipped: bool = False
    """Whether there was no time to measure it."""


@dataclass(frozen=True)
class Choice:
    """The engine for a bundle on this kind of processor, with the measurements."""

    engine: str
    cpu: str
    threads: int
    trials: tuple[Trial, ...]


def open_engine(name: str, bundle: Bundle, *, threads: int | None = None) -> Engine:
    """Open an engine on the graph of a bundle.

    Args:
        name: One of :data:`EngineName`.
        bundle: The opened bundle.
        threads: Threads of one call; by default one for each physical core that this process may
            use.

    Raises:
        EngineError: The name is unknown, or no candidate of ``auto`` can run here.
        MissingExtraError: The package of the engine is not installed.
        BundleCorruptError: The graph can't be loaded.
    """
    if name == "auto":
        name = choose_engine(bundle, threads=threads).engine
    opener = _openers().get(name)
    if opener is None:
        raise EngineError(
            f"There is no engine {name!r}.",
            next_step=f"Use one of: {', '.join(get_args(EngineName))}.",
        )
    return opener(bundle.model_path, threads)


def choose_engine(bundle: Bundle, *, threads: int | None = None) -> Choice:
    """Return the fastest engine that gives right vectors, measured now or earlier.

    The cache folder stores the choice by processor, threads, versions of the engines and
    fingerprint.

    Raises:
        EngineError: None of the candidates can run.
    """
    threads = threads or usable_cores()
    kept = kept_choice(bundle, threads=threads)
    if kept:
        return kept
    trials = _measure_candidates(bundle, threads)
    usable = [trial for trial in trials if trial.problem is None]
    if not usable:
        problems = "; ".join(f"{trial.engine}: {trial.problem}" for trial in trials)
        raise EngineError(
            f"None of {len(trials)} engines can run this bundle here. {problems}",
            next_step="Name an engine to see its error in full, or export the bundle again.",
        )
    best = min(usable, key=_cost)
    choice = Choice(best.engine, describe_cpu(), threads, tuple(trials))
    # Candidates that were skipped on a busy machine are measured at the next start.
    if not any(trial.skipped for trial in trials):
        _store(_stored_path(bundle, threads), choice)
    _LOG.info("engine %s chosen on %s", choice.engine, choice.cpu)
    return choice


def kept_choice(bundle: Bundle, *, threads: int | None = None) -> Choice | None:
    """Return the stored choice for this kind of processor, or None."""
    path = _stored_path(bundle, threads or usable_cores())
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(Trial(**trial) for trial in fields.pop("trials"))
        return Choice(trials=trials, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # Missing, or written by another version: measured again.
        return None


def default_engine() -> str:
    """Return the engine that ``LUSIFER_ENGINE`` names, else ``onnx``."""
    return os.environ.get("LUSIFER_ENGINE") or "onnx"


def _openers() -> Mapping[str, Callable[[Path, int | None], Engine]]:
    from lusifer.engines.openvino import OpenVinoEngine

    return {
        "onnx": lambda path, threads: OnnxEngine(path, threads=threads),
        "openvino": lambda path, threads: OpenVinoEngine(path, threads=threads),
        "openvino-bf16": lambda path, threads: OpenVinoEngine(
            path, precision="bf16", threads=threads
        ),
    }


def _candidates() -> list[str]:
    """List the engines to measure: ONNX Runtime, then OpenVINO in the processor's arithmetic."""
    from lusifer.engines.openvino import multiplies_bf16

    try:
        return ["onnx", "openvino-bf16" if multiplies_bf16() else "openvino"]
    except MissingExtraError:
        return ["onnx"]


def _measure_candidates(bundle: Bundle, threads: int) -> list[Trial]:
    started_s = time.perf_counter()
    trials: list[Trial] = []
    for name in _candidates():
        if trials and time.perf_counter() - started_s > BUDGET_S / 2:
            late = f"not tried: the one before took more than {BUDGET_S / 2:g} s"
            trials.append(Trial(name, problem=late, skipped=True))
            continue
        try:
            trials.append(_measure(name, bundle, threads))
        except LusiferError as error:
            trials.append(Trial(name, problem=str(error)))
    return trials


def _measure(name: str, bundle: Bundle, threads: int) -> Trial:
    if bundle.probe_path is None:
        return Trial(
            name, problem=None if name == "onnx" else "the bundle has no probe to check it with"
        )
    ids, mask, right = read_probe(bundle.probe_path)
    # The last rows are the edge cases, and languages of several scripts.
    width = int(mask[-_ROWS:].sum(axis=1).max())
    ids, mask, right = ids[-_ROWS:, :width].copy(), mask[-_ROWS:, :width].copy(), right[-_ROWS:]
    engine = open_engine(name, bundle, threads=threads)
    try:
        # The first call of a shape also warms up.
        vectors = engine.run(ids, mask)
        worst = float((vectors * right).sum(axis=1).min())
        if not worst >= MINIMUM_COSINE:
            return Trial(name, worst, problem=f"wrong vectors here: cosine {worst:.4f} to PyTorch")
        batch_s = _best_of(engine, ids, mask, repeats=1)
        query = ids[:1, :_QUERY_TOKENS].copy()
        engine.run(query, np.ones_like(query))
        query_s = _best_of(engine, query, np.ones_like(query), repeats=3)
    finally:
        engine.close()
    return Trial(
        name, round(worst, 5), round(query_s * 1000, 2), round(float(mask.sum()) / batch_s)
    )


def _best_of(
    engine: Engine, ids: NDArray[np.int64], mask: NDArray[np.int64], *, repeats: int
) -> float:
    """Return the shortest time of a call in seconds."""
    best = float("inf")
    for _ in range(repeats):
        started_s = time.perf_counter()
        engine.run(ids, mask)
        best = min(best, time.perf_counter() - started_s)
    return best


def _cost(trial: Trial) -> float:
    """Return the product of the times for a query and for a token of a batch.

    A factor of two in one weighs as much as in the other.
    """
    if trial.query_ms is None or trial.tokens_per_s is None:
        return float("inf")
    return trial.query_ms / trial.tokens_per_s


def _stored_path(bundle: Bundle, threads: int) -> Path:
    parts = [bundle.manifest.fingerprint, describe_cpu(), str(threads), *_engine_versions()]
    key = "\n".join(parts)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_directory() / "engines" / f"{digest}.json"


def _engine_versions() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("onnxruntime", "openvino"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return found


def _store(path: Path, choice: Choice) -> None:
    make_private(path.parent)
    write_atomic(path, json.dumps(asdict(choice), indent=2) + "\n")
