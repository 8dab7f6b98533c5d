"""The processor of this machine: usable cores and the instruction sets that decide speed."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

__all__ = ["describe_cpu", "usable_cores"]

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTION_SETS = frozenset(
    {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
)


def usable_cores() -> int:
    """Return the number of physical cores that this process may run on, at least 1.

    Two hyper-threads share one matrix unit, so a thread on each of them only adds waiting.
    """
    if not hasattr(os, "sched_getaffinity"):
        return max(1, os.cpu_count() or 1)
    cpus = os.sched_getaffinity(0)
    cores = set()
    for cpu in cpus:
        try:
            siblings = Path(
                f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            ).read_text()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings.strip())
    return max(1, len(cores))


def describe_cpu() -> str:
    """Return the model and the instruction sets that decide speed.

    A virtual machine may hide some of the instruction sets.
    """
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    sets = sorted(_INSTRUCTION_SETS & set(flags.group(1).split())) if flags else []
    return " ".join([model.group(1) if model else platform.machine(), *sets])
