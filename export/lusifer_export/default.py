"""The default bundle: built once per machine, from the checkpoint that ships with LUSIFER."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from lusifer.bundle.format import Bundle
from lusifer.common.files import acquire_lock
from lusifer.errors import BundleError
from lusifer_export.fingerprint import checkpoint_fingerprint
from lusifer_training.config import default_checkpoint, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Precision

__all__ = ["build_default_bundle"]

_log = logging.getLogger(__name__)


def build_default_bundle(folder: Path, precision: Precision = "int8-dynamic") -> Path:
    """Return the folder of the default bundle; export it first if it is missing or damaged.

    Args:
        folder: Holds one bundle for each model, precision and fingerprint.
        precision: Precision of the weights.

    Raises:
        ExportError: The export failed its quality gate or found no space.
        TrainingError: A backbone is missing; the message holds the install command.
    """
    checkpoint = default_checkpoint()
    fingerprint = checkpoint_fingerprint(checkpoint, precision)
    short = fingerprint.removeprefix("sha256:")[:12]
    target = folder / f"{read_config(checkpoint).name}-{precision}-{short}"
    folder.mkdir(parents=True, exist_ok=True)
    # Two commands that start together on a new machine build it once.
    lock = acquire_lock(folder / f".{target.name}.lock", timeout_s=-1)
    try:
        if _is_usable(target, fingerprint):
            return target
        # Damaged, or left by an export that was killed: under the lock, no other export is running.
        for left in (target, *folder.glob(f".{target.name}.*/")):
            shutil.rmtree(left, ignore_errors=True)
        _log.warning(
            "building the default bundle in %s; this is done once and takes a few minutes", target
        )
        # Imported here: PyTorch takes seconds to import, and every command asks for this folder.
        from lusifer_export.build import export_checkpoint

        return export_checkpoint(checkpoint, target, precision=precision).path
    finally:
        lock.release()


def _is_usable(target: Path, fingerprint: str) -> bool:
    try:
        # Whoever opens the bundle for use checks the hashes.
        return Bundle.open(target, verify=False).manifest.fingerprint == fingerprint
    except BundleError:
        return False
