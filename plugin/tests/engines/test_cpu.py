from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.engines import cpu
from lusifer.engines.cpu import describe_cpu, usable_cores

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CPUINFO = """\
processor\t: 0
model name\t: Example CPU @ 2.00GHz
flags\t\t: fpu avx2 sse4_2 avx512_bf16 avx512f
"""


def test_usable_cores() -> None:
    assert usable_cores() >= 1


def test_a_machine_without_affinity_counts_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cpu.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cpu.os, "cpu_count", lambda: 6)
    assert usable_cores() == 6
    monkeypatch.setattr(cpu.os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_only_sets_that_decide_speed_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    assert describe_cpu() == "Example CPU @ 2.00GHz avx2 avx512_bf16 avx512f"


def test_without_cpuinfo_the_platform_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "nowhere")
    monkeypatch.setattr(cpu.platform, "processor", lambda: "")
    monkeypatch.setattr(cpu.platform, "machine", lambda: "riscv64")
    assert describe_cpu() == "riscv64"
