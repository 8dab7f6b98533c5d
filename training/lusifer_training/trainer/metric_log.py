"""MetricLog of a stage, one record per step, as JSON lines and for TensorBoard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MetricLog"]


class MetricLog:
    """``metrics.jsonl`` and ``tensorboard/`` of a stage.

    Args:
        folder: Of the stage.
        steps_done: Records of later steps are forgotten; the last line may be half written.
    """

    def __init__(self, folder: Path, *, steps_done: int) -> None:
        self.path = folder / "metrics.jsonl"
        lines = (
            self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            if self.path.is_file()
            else []
        )
        self.path.write_text("".join(lines[:steps_done]), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

    def write(self, record: dict[str, float]) -> None:
        """One step's numbers; ``step`` among them."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if name != "step":
                self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
        self._board.close()
