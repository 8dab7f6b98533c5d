"""The default bundle: built from the checkpoint that ships with LUSIFER, once per machine."""

from __future__ import annotations

import fcntl
import logging
import shutil
from typing import TYPE_CHECKING

from lusifer.bundle.format import Bundle
from lusifer.errors import BundleError
from lusifer_export.fingerprint import checkpoint_fingerprint
from lusifer_training.config import default_checkpoint, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Precision

__all__ = ["build_default_bundle"]

_log = logging.getLogger(__name__)


def build_default_bundle(folder: Path, precision: Precision = "int8-dynamic") -> Path:
    """The default bundle's folder, exported now if it isn't there or is damaged.

    Args:
        folder: Holds one bundle per model, precision and fingerprint.
        precision: Of the weights.

    Raises:
        ExportError: The export failed its gate or found no space.
        TrainingError: A backbone is missing; the message holds the install command.
    """
    checkpoint = default_checkpoint()
    fingerprint = checkpoint_fingerprint(checkpoint, precision)
    short = fingerprint.removeprefix("sha256:")[:12]
    target = folder / f"{read_config(checkpoint).name}-{precision}-{short}"
    folder.mkdir(parents=True, exist_ok=True)
    # Two commands started together on a new machine build it once.
    with (folder / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _usable(target, fingerprint):
            return target
        # Damaged, or left by an export that was killed: the lock says that nobody is at work on it.
        for left in (target, *folder.glob(f".{target.name}.*/")):
            shutil.rmtree(left, ignore_errors=True)
        _log.warning(
            "building the default bundle in %s; this is done once and takes a few minutes", target
        )
        # Only here: PyTorch takes seconds to import, and every command asks for this folder.
        from lusifer_export.build import export_checkpoint

        return export_checkpoint(checkpoint, target, precision=precision).path


def _usable(target: Path, fingerprint: str) -> bool:
    try:
        # Hashes are checked by whoever opens it for use.
        return Bundle.open(target, verify=False).manifest.fingerprint == fingerprint
    except BundleError:
        return False
