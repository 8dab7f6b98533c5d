"""Records of a stage: appended, and cut to the steps before a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer_training.trainer.metric_log import MetricLog

if TYPE_CHECKING:
    from pathlib import Path


def test_records_after_the_state_and_a_half_line_are_dropped(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, steps_done=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    log.close()
    path = tmp_path / "metrics.jsonl"
    assert path.read_text() == "".join(f'{{"step": {n}, "loss": 0.5}}\n' for n in (1, 2, 3))
    with path.open("a") as file:
        file.write('{"step": 4')
    log = MetricLog(tmp_path, steps_done=2)
    log.write({"step": 3, "loss": 0.25})
    log.close()
    assert path.read_bytes() == (
        b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.5}\n{"step": 3, "loss": 0.25}\n'
    )
    assert list((tmp_path / "tensorboard").iterdir())


def test_only_a_line_feed_ends_a_record(tmp_path: Path) -> None:
    first = '{"step": 1, "note": "a\u2028b"}\n'.encode()
    (tmp_path / "metrics.jsonl").write_bytes(first + b'{"step": 2}\n')
    MetricLog(tmp_path, steps_done=1).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == first
