"""Log the metrics of a stage, one record for each step, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from lusifer.common.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MetricLog"]


class MetricLog:
    """Append to ``metrics.jsonl`` and ``tensorboard/`` of a stage.

    Args:
        folder: Folder of the stage.
        steps_done: Number of steps before a resume. Records of later steps are dropped; the last
            line may be incomplete.
    """

    def __init__(self, folder: Path, *, steps_done: int) -> None:
        self.path = folder / "metrics.jsonl"
        written = self.path.read_bytes() if self.path.is_file() else b""
        lines = written.split(b"\n")[:steps_done]
        write_atomic(self.path, b"".join(line + b"\n" for line in lines if line))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

    def write(self, record: Mapping[str, float]) -> None:
        """Append the numbers of one step; ``step`` is one of them."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if name != "step":
                self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Write buffered records and close the files."""
        self._file.close()
        self._board.close()
