"""Checkpoint to bundle."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lusifer import __version__
from lusifer.bundle import Bundle, ManifestFields, RolePrompts, compute_fingerprint, finish_bundle
from lusifer.engines.onnx import OnnxEngine
from lusifer_export.errors import NoSpaceError
from lusifer_export.graph import export_graph, save_graph
from lusifer_export.parity import check_parity, measure_parity
from lusifer_export.quantize import quantize_weights
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint, read_config

if TYPE_CHECKING:
    from lusifer_training.model.lusifer import Lusifer

__all__ = ["Precision", "checkpoint_fingerprint", "export_checkpoint"]

Precision = Literal["fp32", "int8"]

_log = logging.getLogger(__name__)


def export_checkpoint(checkpoint: Path, target: Path, *, precision: Precision) -> Bundle:
    """Compile a checkpoint, compare it with PyTorch, and only then let it appear at the target.

    Args:
        checkpoint: Folder with ``config.json`` and ``adapter.safetensors``.
        target: Bundle folder; replaced if it is one.
        precision: Of the weights.

    Returns:
        The bundle, with its parity report inside.

    Raises:
        ParityError: The graph is too far from the model; nothing is left at the target.
        NoSpaceError: The disk is full; nothing is left at the target.
        TrainingError: The checkpoint or its backbones can't be loaded.
    """
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A sibling of the target: the last step is a rename, which can't cross filesystems.
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        # mkdtemp shuts others out; a bundle is for whoever may read the folder it lies in.
        staging.chmod(0o755)
        _log.info("loading %s", checkpoint)
        model = load_checkpoint(checkpoint)
        model.merge_lora()
        tokenizer = load_tokenizer(model.config.tokenizer)
        _log.info("tracing the graph")
        graph = export_graph(model)
        if precision == "int8":
            _log.info("quantizing weights to int8")
            graph = quantize_weights(graph)
        save_graph(graph, staging / "model.onnx")
        del graph
        tokenizer.save(str(staging / "tokenizer.json"))
        _log.info("comparing with PyTorch")
        engine = OnnxEngine(staging / "model.onnx")
        report = measure_parity(model, tokenizer, engine)
        engine.close()
        _log.info(
            "parity of %s: mean cosine %.6f, worst %.6f over %d texts in %d languages",
            precision, report["mean"], report["worst"], report["texts"], len(report["languages"]),
        )  # fmt: skip
        check_parity(report, precision)
        report |= {"precision": precision, "versions": _versions()}
        (staging / "parity_report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        return finish_bundle(staging, target, _fields(model, checkpoint, precision, report))
    except Exception as error:
        if _is_disk_full(error):
            raise NoSpaceError(
                f"No space left in {target.parent} while exporting.",
                next_step="Free about 1.5 GB there, or choose another target.",
            ) from error
        raise
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def checkpoint_fingerprint(checkpoint: Path, precision: Precision) -> str:
    """Identity of the vectors a checkpoint gives at a precision, without loading its backbones."""
    config = read_config(checkpoint)
    adapter = hashlib.sha256((checkpoint / "adapter.safetensors").read_bytes()).hexdigest()
    return compute_fingerprint(
        {
            "weights": {
                "encoder": config.encoder.identity,
                "llm": config.llm.identity if config.llm else None,
                "adapter": adapter,
            },
            "architecture": config.model_dump(
                mode="json",
                include={
                    "llm_layers": True,
                    "residual": True,
                    "encoder_layer_mix": True,
                    "language_rank": True,
                    # The rest of a LoRA's shape shows in the adapter; its scale doesn't.
                    "encoder_lora": {"alpha"},
                    "llm_lora": {"alpha"},
                },
            ),
            "tokenizer": config.tokenizer.identity,
            "role_prompts": config.role_prompts,
            "pooling": config.pooling,
            "dimension": config.output_dimension,
            "precision": precision,
        }
    )


def _fields(model: Lusifer, checkpoint: Path, precision: Precision, report: dict[str, Any]) -> ManifestFields:
    config = model.config
    return ManifestFields(
        name=config.name,
        fingerprint=checkpoint_fingerprint(checkpoint, precision),
        dimension=config.output_dimension,
        matryoshka_dimensions=(config.output_dimension,),
        role_prompts=RolePrompts(**config.role_prompts),
        maximum_tokens=config.maximum_tokens,
        pad_token_id=model.pad_token_id,
        precision=precision,
        languages_evaluated=tuple(sorted(report["languages"])),
        created_with=_versions(),
    )


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "onnx", "onnxruntime")
    return {"lusifer": __version__, **{name: importlib.metadata.version(name) for name in names}}


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    # The tokenizers library raises bare Exception, with the number in its text.
    return f"os error {errno.ENOSPC}" in str(error)
