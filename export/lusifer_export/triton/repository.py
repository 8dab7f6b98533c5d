"""A Triton model repository with versions, which a rename activates and rolls back.

::

    repository/
      lusifer_core/        config.pbtxt  configs/3.pbtxt  warmup/ones_64 ...
                           3/model.onnx, model.onnx.data
      lusifer_tokenizer/   config.pbtxt  configs/3.pbtxt
                           3/model.py, tokenizer.json, manifest.json
      lusifer/             config.pbtxt  configs/3.pbtxt
                           3/

``config.pbtxt`` names the one version that is served. A new version goes live when Triton loads the
three models, on a ``load`` request or by polling. Until then, and while it loads, the old one
answers.
"""

from __future__ import annotations

import shutil
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.files import write_atomic
from lusifer_export.errors import ExportError, translate_full_disk
from lusifer_export.triton.config import (
    CORE,
    ENSEMBLE,
    TOKENIZER,
    WARMUP_FILE,
    Serving,
    configs,
    length_buckets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lusifer.bundle.format import Bundle

__all__ = ["LOAD_ORDER", "activate", "live_version", "versions", "write_repository"]

LOAD_ORDER = (CORE, TOKENIZER, ENSEMBLE)
"""Order of loading: an ensemble loads only after its parts."""


def write_repository(bundle: Bundle, folder: Path, serving: Serving | None = None) -> int:
    """Add a bundle to a repository as its newest version, and activate that version.

    Args:
        bundle: The bundle, opened and verified.
        folder: The repository; it is created if it does not exist.
        serving: How the repository is served.

    Returns:
        Number of the version.

    Raises:
        ExportError: The precision can't run on the device.
        NoSpaceError: The disk is full; the active version is unchanged.
    """
    serving = serving or Serving()
    if serving.device == "gpu-tensorrt" and bundle.manifest.precision.startswith("int"):
        raise ExportError(
            f"TensorRT has no operator for the blocks of {bundle.manifest.precision}.",
            next_step="Export with --precision fp16, bf16 or fp32, or serve with device gpu.",
        )
    version = max(versions(folder), default=0) + 1
    full_disk = translate_full_disk(
        f"No space left in {folder} for version {version}.",
        next_step="Remove old versions' folders, or choose another place.",
    )
    with full_disk:
        _write_version(bundle, folder, version, configs(bundle.manifest, version, serving))
    activate(folder, version)
    return version


def _write_version(bundle: Bundle, folder: Path, version: int, contents: Mapping[str, str]) -> None:
    """Write the files of a version, and remove them if that fails."""
    staged: list[tuple[Path, Path]] = []
    try:
        for name in LOAD_ORDER:
            target = folder / name / str(version)
            # Triton only reads folders whose name is a number.
            staging = target.with_name(f".{version}.new")
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            staged.append((staging, target))
            _write_model(name, bundle, staging)
        _write_warm_up(folder / CORE / "warmup", bundle.manifest.maximum_tokens)
        for name, text in contents.items():
            (folder / name / "configs").mkdir(exist_ok=True)
            (folder / name / "configs" / f"{version}.pbtxt").write_text(text, encoding="utf-8")
        for staging, target in staged:
            staging.rename(target)
    except OSError:
        for staging, _ in staged:
            shutil.rmtree(staging, ignore_errors=True)
        raise


def activate(folder: Path, version: int) -> None:
    """Make a version the one that Triton loads next, whether newer or older.

    Raises:
        ExportError: The repository has no such version.
    """
    if version not in versions(folder):
        raise ExportError(
            f"{folder} has no version {version}; it has {versions(folder)}.",
            next_step="Name one of these, or export again.",
        )
    for name in LOAD_ORDER:
        config = (folder / name / "configs" / f"{version}.pbtxt").read_bytes()
        write_atomic(folder / name / "config.pbtxt", config)


def versions(folder: Path) -> list[int]:
    """Return the complete versions of a repository, ascending."""
    if not folder.is_dir():
        return []
    found = [
        {int(path.name) for path in (folder / name).glob("*") if path.name.isdecimal()}
        for name in LOAD_ORDER
    ]
    return sorted(set.intersection(*found))


def live_version(folder: Path) -> int | None:
    """Return the version that ``config.pbtxt`` names; None if there is none."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    path = folder / CORE / "config.pbtxt"
    if not path.is_file():
        return None
    config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    return int(config.version_policy.specific.versions[0])


def _write_model(name: str, bundle: Bundle, target: Path) -> None:
    if name == CORE:
        for file in bundle.manifest.files:
            if file.startswith("model.onnx"):
                shutil.copyfile(bundle.path / file, target / file)
    elif name == TOKENIZER:
        source = resources.files("lusifer_export.triton") / "tokenizer_model.py"
        (target / "model.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        shutil.copyfile(bundle.tokenizer_path, target / "tokenizer.json")
        shutil.copyfile(bundle.path / "manifest.json", target / "manifest.json")


def _write_warm_up(folder: Path, maximum_tokens: int) -> None:
    """Write ids and masks of ones, for each length: every vocabulary has the id 1."""
    folder.mkdir(exist_ok=True)
    for tokens in length_buckets(maximum_tokens):
        (folder / WARMUP_FILE.format(tokens=tokens)).write_bytes(
            np.ones(tokens, dtype=np.int64).tobytes()
        )
