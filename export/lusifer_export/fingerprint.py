"""Fingerprint of an export, computed without PyTorch: every command needs the default bundle's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.bundle.format import compute_fingerprint, file_record
from lusifer_training.backbones.source import source_identity
from lusifer_training.config import read_config

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Precision

__all__ = ["checkpoint_fingerprint"]


def checkpoint_fingerprint(checkpoint: Path, precision: Precision) -> str:
    """Return the fingerprint of a checkpoint's vectors at a precision, without loading the model.

    A backbone counts by its stated sha256, as a hub model by name and revision, and as a local
    folder by the content of its files.

    Raises:
        CheckpointError: The checkpoint can't be read.
        BackboneError: A backbone that is a local folder can't be read.
    """
    config = read_config(checkpoint)
    # Models without these keep the fingerprint that they had before there were any.
    geometry = {"centre_share": config.centre_share} if config.centre_share else {}
    pooling = {"encoder_pooling": config.encoder_pooling}
    if config.encoder_pooling == "mean":
        pooling = {}
    return compute_fingerprint(
        {
            "weights": {
                "encoder": source_identity(config.encoder),
                "llm": source_identity(config.llm) if config.llm else None,
                "adapter": file_record(checkpoint / "adapter.safetensors").sha256,
            },
            "architecture": config.model_dump(
                mode="json",
                include={
                    "llm_layers": True,
                    "residual": True,
                    "encoder_layer_mix": True,
                    "language_rank": True,
                    # The adapter holds the rest of a LoRA's shape, but not its scale.
                    "encoder_lora": {"alpha"},
                    "llm_lora": {"alpha"},
                },
            )
            | geometry
            | pooling,
            "tokenizer": source_identity(config.tokenizer),
            "role_prompts": config.role_prompts,
            "pooling": config.pooling,
            "dimension": config.output_dimension,
            "precision": precision,
        }
    )
