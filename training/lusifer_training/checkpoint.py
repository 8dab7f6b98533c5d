"""A checkpoint: the trained parameters, and the configuration that rebuilds the rest.

::

    config.json                      ModelConfig
    adapter.safetensors              connector, head, LoRA, layer mix, language basis
    training_report.json             recipe, data counts, losses, versions
    language_centroids.safetensors   names the language of a side vector; only with a subspace
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from typing import TYPE_CHECKING, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lusifer.common.files import sync
from lusifer_training.config import read_config
from lusifer_training.errors import CheckpointError
from lusifer_training.model.lusifer import build_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from lusifer_training.language_subspace import LanguageIdentifier
    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "load_checkpoint",
    "read_adapter",
    "save_checkpoint",
    "trained_parameters",
    "with_language_basis",
]


def trained_parameters(model: Lusifer) -> dict[str, nn.Parameter]:
    """Return every parameter that training may change, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save_checkpoint(model: Lusifer, folder: Path, report: Mapping[str, object]) -> Path:
    """Write a checkpoint folder, aside first and then renamed.

    Args:
        model: A trained model whose LoRA is not merged.
        folder: The checkpoint; replaced if it exists.
        report: Content of ``training_report.json``; the versions are added.
    """
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_adapter(model), aside / "adapter.safetensors")
    (aside / "config.json").write_text(
        model.config.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")
    }
    (aside / "training_report.json").write_text(
        json.dumps({**report, "versions": versions}, indent=2) + "\n", encoding="utf-8"
    )
    for path in (*aside.iterdir(), aside):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    written = aside.rename(folder)
    sync(written.parent)
    return written


def read_adapter(folder: Path) -> dict[str, torch.Tensor]:
    """Read the trained parameters by name, without building the model.

    Raises:
        CheckpointError: The adapter is missing or cut.
    """
    path = folder / "adapter.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}.", next_step="Copy the checkpoint again."
        ) from error


def load_checkpoint(
    folder: Path, *, llm_dtype: torch.dtype | Literal["auto"] = torch.float32
) -> Lusifer:
    """Rebuild a trained model from its sources and its adapter.

    Args:
        folder: The checkpoint.
        llm_dtype: Type of the LLM's weights; ``auto`` leaves them as they are stored.

    Raises:
        CheckpointError: The adapter is missing, cut, or doesn't fit the configuration.
        BackboneError: A source in the configuration can't be used.
    """
    model = build_model(read_config(folder), llm_dtype=llm_dtype)
    adapter = read_adapter(folder)
    expected = _adapter(model)
    if wrong := sorted(
        name
        for name in expected.keys() | adapter.keys()
        if name not in expected
        or name not in adapter
        or expected[name].shape != adapter[name].shape
    ):
        raise CheckpointError(
            f"{folder / 'adapter.safetensors'} doesn't fit its config.json; {len(wrong)} tensors "
            f"are missing, extra or of another shape, such as {wrong[0]}.",
            next_step="Use the config.json the adapter was saved with.",
        )
    model.load_state_dict(adapter, strict=False)
    return model.eval()


def _adapter(model: Lusifer) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {
        name: value.detach().contiguous() for name, value in trained_parameters(model).items()
    }
    if model.config.language_rank:
        tensors["language_basis"] = model.language_basis.contiguous()
    return tensors


def with_language_basis(
    folder: Path, target: Path, identifier: LanguageIdentifier, report: Mapping[str, object]
) -> Path:
    """Write a checkpoint that projects the language subspace out.

    Without the residual path the head is the last Linear. The projection P is folded into it
    exactly: W becomes P W and b becomes P b. With the residual path P is at the end of the graph,
    because the encoder's own vector is added after the head.

    Args:
        folder: The checkpoint that the basis was measured on; its own basis is replaced.
        target: Folder to write.
        identifier: The basis ``(D, r)``, and the centroids that name the language of a side vector.
        report: Origin of the basis, for ``training_report.json``.
    """
    model = load_checkpoint(folder)
    basis = torch.from_numpy(identifier.basis)
    if model.config.residual:
        model.config = model.config.model_copy(update={"language_rank": basis.shape[1]})
        model.language_basis = basis
    else:
        with torch.no_grad():
            model.head.weight.copy_(model.head.weight - basis @ (basis.T @ model.head.weight))
            model.head.bias.copy_(model.head.bias - basis @ (basis.T @ model.head.bias))
    whole = json.loads((folder / "training_report.json").read_text(encoding="utf-8"))
    whole["language_subspace"] = {
        "rank": basis.shape[1],
        "languages": list(identifier.languages),
        **report,
    }
    written = save_checkpoint(model, target, whole)
    identifier.save(written)
    return written
