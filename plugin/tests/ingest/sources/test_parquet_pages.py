from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin.tests.source_files import write_parquet

from lusifer.ingest.sources.parquet_pages import largest_pages_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_no_value_is_larger_than_its_page(tmp_path: Path, compression: str, version: str) -> None:
    texts = ["x" * 5000, *("y" * 100 for _ in range(5000)), "z" * 2_000_000]
    path = write_parquet(
        tmp_path / "d.parquet",
        {"text": texts, "n": list(range(len(texts))), "tags": [["a", "b"]] * len(texts)},
        compression=compression,
        data_page_version=version,
        row_group_size=3000,
    )
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file:
        metadata = ParquetFile(file).metadata
        file.seek(7)
        first, last = (largest_pages_bytes(file, metadata.row_group(at)) for at in (0, 1))
        assert file.tell() == 7
    assert 5000 < first < 100_000
    assert 2_000_000 < last < 2_100_000


def test_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", {"text": ["one"] * 9})
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file:
        group = ParquetFile(file).metadata.row_group(0)
        content = bytearray(path.read_bytes())
    for damage in (bytes(8), b"\xff" * 8, b"\x0c" * 64, b"\x19\xfc" + b"\xff" * 20):
        broken = tmp_path / "broken.parquet"
        broken.write_bytes(content[:4] + damage + content[4 + len(damage) :])
        with broken.open("rb") as file, pytest.raises(OSError, match="the header of the page"):
            largest_pages_bytes(file, group)
