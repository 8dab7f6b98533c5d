"""The probe of a bundle: a few inputs with the vectors that PyTorch computed for them."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from lusifer.bundle.format import PROBE_NAME
from lusifer.bundle.integrity import REBUILD
from lusifer.errors import BundleCorruptError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_probe", "write_probe"]

_UNPACKED_BYTES = 2**28


def write_probe(
    staging: Path,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    vectors: NDArray[np.float32],
) -> None:
    """Write inputs ``(N, T)`` and their right vectors ``(N, D)`` to a folder of model files."""
    np.savez(
        staging / PROBE_NAME, input_ids=input_ids, attention_mask=attention_mask, vectors=vectors
    )


def read_probe(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Read ids ``(N, T)``, mask ``(N, T)`` and right vectors ``(N, D)`` of a probe.

    Raises:
        BundleCorruptError: The file can't be read.
    """
    try:
        # Opened here: numpy would leave a damaged file open.
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                unpacked_bytes = sum(each.file_size for each in archive.infolist())
            if unpacked_bytes > _UNPACKED_BYTES:
                raise ValueError(
                    f"unpacked it has {unpacked_bytes} bytes, at most {_UNPACKED_BYTES} are read"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return arrays["input_ids"], arrays["attention_mask"], arrays["vectors"]
    # MemoryError: the head of an array may say any shape.
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        SyntaxError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleCorruptError(f"{path} can't be read: {error}.", next_step=REBUILD) from error
