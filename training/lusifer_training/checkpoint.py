"""A checkpoint: the trained parameters, and the configuration that rebuilds the rest.

::

    config.json                      ModelConfig
    adapter.safetensors              connector, head, LoRA, layer mix, centre, language basis
    training_report.json             recipe, data counts, losses, versions
    language_centroids.safetensors   names the language of a side vector; only with a subspace
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lusifer.common.files import sync
from lusifer_training.config import read_config
from lusifer_training.errors import CheckpointError
from lusifer_training.geometry import Geometry
from lusifer_training.model.lusifer import build_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from lusifer_training.config import ModelConfig
    from lusifer_training.language_subspace import LanguageIdentifier
    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "geometry_of",
    "load_checkpoint",
    "read_adapter",
    "save_checkpoint",
    "trained_parameters",
    "with_geometry",
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


def geometry_of(config: ModelConfig, adapter: Mapping[str, torch.Tensor]) -> Geometry | None:
    """Return the geometry of a checkpoint; None if it has neither centre nor language basis.

    Args:
        config: Configuration of the checkpoint.
        adapter: Its tensors, from :func:`read_adapter`.
    """
    if not (config.centre_share or config.language_rank):
        return None
    dimension = config.output_dimension
    basis, centre = adapter.get("language_basis"), adapter.get("centre")
    return Geometry(
        np.zeros(dimension, np.float32) if centre is None else centre.numpy(),
        config.centre_share,
        np.zeros((dimension, 0), np.float32) if basis is None else basis.numpy(),
    )


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
    if model.config.centre_share:
        tensors["centre"] = model.centre.contiguous()
    if model.config.language_rank:
        tensors["language_basis"] = model.language_basis.contiguous()
    return tensors


def with_geometry(
    folder: Path,
    target: Path,
    geometry: Geometry,
    identifier: LanguageIdentifier | None,
    report: Mapping[str, object],
) -> Path:
    """Write a checkpoint whose vectors have a geometry; it replaces the checkpoint's own.

    Without a centre and without the residual path, the head is the last Linear. The projection P is
    folded into it exactly: W becomes P W and b becomes P b. Otherwise the geometry is the end of
    the graph: the centre belongs to unit vectors, and the encoder's own vector is added after the
    head.

    Args:
        folder: The checkpoint that the geometry was measured on.
        target: Folder to write.
        geometry: Centre, its share and the language basis.
        identifier: Centroids that name the language of a side vector, if there is a basis.
        report: Origin of the geometry, for ``training_report.json``.
    """
    model = load_checkpoint(folder)
    basis, rank = torch.from_numpy(geometry.basis), geometry.basis.shape[1]
    folded = not (model.config.residual or geometry.share)
    if folded:
        with torch.no_grad():
            model.head.weight.copy_(model.head.weight - basis @ (basis.T @ model.head.weight))
            model.head.bias.copy_(model.head.bias - basis @ (basis.T @ model.head.bias))
    model.config = model.config.model_copy(
        update={"language_rank": 0 if folded else rank, "centre_share": geometry.share}
    )
    if geometry.share:
        model.centre = torch.from_numpy(geometry.centre)
    model.language_basis = basis
    whole = json.loads((folder / "training_report.json").read_text(encoding="utf-8"))
    written = save_checkpoint(model, target, {**whole, **report})
    if identifier is not None:
        identifier.save(written)
    return written
