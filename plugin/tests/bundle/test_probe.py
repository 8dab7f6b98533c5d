from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.bundle.probe import read_probe, write_probe
from lusifer.errors import BundleCorruptError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    ids, mask = np.array([[0, 7, 2]]), np.array([[1, 1, 0]])
    write_probe(tmp_path, ids, mask, np.array([[0.6, 0.8]], dtype=np.float32))
    read = read_probe(tmp_path / "probe.npz")
    assert [each.tolist() for each in read[:2]] == [[[0, 7, 2]], [[1, 1, 0]]]
    assert read[2].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert read[2].dtype == np.float32


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_a_damaged_probe_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "probe.npz").write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"probe\.npz can't be read"):
        read_probe(tmp_path / "probe.npz")
    with pytest.raises(BundleCorruptError, match="nowhere"):
        read_probe(tmp_path / "nowhere.npz")


def test_a_probe_without_vectors_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "probe.npz", input_ids=np.zeros((1, 1)), attention_mask=np.zeros((1, 1)))
    with pytest.raises(BundleCorruptError, match="vectors"):
        read_probe(tmp_path / "probe.npz")


def test_a_probe_that_unpacks_to_gigabytes_or_says_any_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input_ids.npy", bytes(2**28 + 1))
    with pytest.raises(BundleCorruptError, match="at most 268435456 are read"):
        read_probe(path)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input_ids.npy", head.getvalue())
    with pytest.raises(BundleCorruptError, match="can't be read"):
        read_probe(path)
