"""Identity of the vectors of an export, told without PyTorch: each command asks it of the default
bundle.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lusifer.bundle.format import compute_fingerprint
from lusifer_training.config import read_config

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Precision

__all__ = ["checkpoint_fingerprint"]


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
