"""Build a bundle from a checkpoint."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lusifer._version import __version__
from lusifer.bundle.format import (
    PRECISIONS,
    Bundle,
    ManifestFields,
    Precision,
    RolePrompts,
    file_record,
    finish_bundle,
)
from lusifer.bundle.probe import write_probe
from lusifer.engines.onnx import OnnxEngine
from lusifer_export.errors import translate_full_disk
from lusifer_export.fingerprint import checkpoint_fingerprint
from lusifer_export.gate import BARS, check_gate, judge, measure_gate, probe_rows, reference_vectors
from lusifer_export.graph import trace_graph, weight_reader
from lusifer_export.half import halve_weights
from lusifer_export.quantize import QUANTIZED, quantize_weights
from lusifer_export.weights import WeightStore, fp32_arithmetic
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from lusifer_export.gate import Reference
    from lusifer_export.report import GateReport
    from lusifer_training.config import ModelConfig
    from lusifer_training.model.lusifer import Lusifer

__all__ = ["export_checkpoint", "staging_folder", "write_lowered"]

_log = logging.getLogger(__name__)


def export_checkpoint(
    checkpoint: Path,
    target: Path,
    *,
    precision: Precision | Literal["auto"],
    keep_failed: bool = False,
) -> Bundle:
    """Compile a checkpoint, compare it with PyTorch, and only then move the bundle to the target.

    Args:
        checkpoint: Folder with ``config.json`` and ``adapter.safetensors``.
        target: Folder of the bundle; an existing bundle is replaced.
        precision: Precision of weights and arithmetic; ``auto`` takes the smallest that passes the
            quality gate.
        keep_failed: Write the bundle although it failed the gate, marked so that the plugin refuses
            it.

    Returns:
        The bundle, with the gate's report inside.

    Raises:
        GateError: The graph is too far from the model; the target is unchanged.
        NoSpaceError: The disk is full; the target is unchanged.
        TrainingError: The checkpoint or its backbones can't be loaded.
    """
    full_disk = translate_full_disk(
        f"No space left in {target.parent} while exporting.",
        next_step="Free about 2 GB there, or choose another target.",
    )
    with full_disk, staging_folder(target) as staging:
        traced, model, reference = _trace(checkpoint, staging)
        ladder = PRECISIONS if precision == "auto" else (precision,)
        for rung in ladder:
            last = rung == ladder[-1]
            report = _write_and_measure(staging, rung, traced, model, reference)
            reasons = report["failures"]
            if not reasons:
                break
            if last and not keep_failed:
                check_gate(reasons, rung)
            _log.warning("%s failed the quality gate: %s", rung, "; ".join(reasons[:3]))
        (staging / "parity_report.json").write_text(
            json.dumps(report, indent=2) + "\n", encoding="utf-8"
        )
        write_probe(staging, *probe_rows(reference))
        return finish_bundle(staging, target, _fields(model.config, reference, checkpoint, report))


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Create a folder beside the target, and remove it at the end if it is still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling of the target: the last step is a rename, which must not cross filesystems.
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        # mkdtemp keeps other users out, but whoever may read the target's folder may read a bundle.
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _trace(checkpoint: Path, staging: Path) -> tuple[onnx.ModelProto, Lusifer, Reference]:
    """Return the graph without weights, the model that has them, and its vectors for the gate.

    The LLM keeps the precision that it is stored in, mapped from its file where the format allows.
    """
    _log.info("loading %s", checkpoint)
    model = load_checkpoint(checkpoint, llm_dtype="auto")
    tokenizer = load_tokenizer(model.config.tokenizer)
    tokenizer.save(str(staging / "tokenizer.json"))
    _log.info("tracing the graph")
    traced = trace_graph(model)
    _log.info("embedding the gate's texts with PyTorch")
    tokenizer.no_truncation()
    with fp32_arithmetic(model):
        return traced, model, reference_vectors(model, tokenizer)


def _write_and_measure(
    staging: Path,
    precision: Precision,
    traced: onnx.ModelProto,
    model: Lusifer,
    reference: Reference,
) -> GateReport:
    """Write the graph in a precision and compare it with the model."""
    for left in staging.glob("model.onnx*"):
        left.unlink()
    _log.info("writing the graph in %s", precision)
    write_lowered(traced, WeightStore(weight_reader(model), staging / "model.onnx"), precision)
    _log.info("comparing with PyTorch")
    engine = OnnxEngine(staging / "model.onnx")
    report = measure_gate(reference, engine)
    engine.close()
    failures = judge(report, precision)
    _log.info(
        "%s: mean cosine %.6f, worst %.6f over %d texts in %d languages: %s",
        precision, report["mean"], report["worst"], report["texts"], len(report["languages"]),
        "failed" if failures else "passed",
    )  # fmt: skip
    return {
        "verdict": "failed" if failures else "passed",
        "failures": failures,
        "precision": precision,
        "engine": engine.name,
        "bars": asdict(BARS[precision]),
        **report,
        "versions": _versions(),
        "sha256": {
            path.name: file_record(path).sha256 for path in sorted(staging.glob("model.onnx*"))
        },
    }


def write_lowered(traced: onnx.ModelProto, store: WeightStore, precision: Precision) -> None:
    """Write an fp32 graph in a precision, one weight after the other.

    Args:
        traced: The fp32 graph; it stays unchanged.
        store: Reads the weights of the graph and writes the new ones and the graph.
        precision: Precision of the graph to write.
    """
    graph = type(traced)()
    graph.CopyFrom(traced)
    if precision in QUANTIZED:
        quantize_weights(graph, precision, store)
    elif precision in ("fp16", "bf16"):
        halve_weights(graph, precision, store)
    store.save(graph)


def _fields(
    config: ModelConfig, reference: Reference, checkpoint: Path, report: GateReport
) -> ManifestFields:
    precision = report["precision"]
    return ManifestFields(
        name=config.name,
        fingerprint=checkpoint_fingerprint(checkpoint, precision),
        dimension=config.output_dimension,
        matryoshka_dimensions=(config.output_dimension,),
        role_prompts=RolePrompts(**config.role_prompts),
        maximum_tokens=config.maximum_tokens,
        pad_token_id=reference.pad_token_id,
        precision=precision,
        gate=report["verdict"],
        languages_evaluated=tuple(sorted(report["languages"])),
        created_with=_versions(),
    )


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "onnx", "onnxruntime")
    return {"lusifer": __version__, **{name: importlib.metadata.version(name) for name in names}}
