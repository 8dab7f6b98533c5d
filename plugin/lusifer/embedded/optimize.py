"""Build the search index of a shard, in a process of its own.

::

    python -m lusifer.embedded.optimize SHARD

The engine (0.9.0) never releases Python's interpreter lock. Inside a server ``optimize()`` would
stop every other thread, for minutes on a large index. The process prints one line of JSON:
``{"optimized": true}``, or ``{"error": "..."}`` with exit status 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lusifer.embedded.engine import edge_errors, import_edge, translate
from lusifer.errors import LusiferError

__all__ = ["main", "optimize_elsewhere", "optimize_shard"]


def optimize_shard(shard: Path) -> bool:
    """Optimise a closed shard in this process; return whether there was something to do.

    Raises:
        IndexLockedError: The shard is open elsewhere.
        IndexCorruptError: It can't be read.
        StorageFullError: No space for the new segments.
    """
    edge = import_edge()
    with edge_errors(shard, loading=True):
        opened = edge.EdgeShard.load(str(shard))
        try:
            done = bool(opened.optimize())
            opened.flush()
        finally:
            opened.close()
    return done


def optimize_elsewhere(shard: Path) -> None:
    """Optimise a closed shard in another process and wait for it.

    Raises:
        IndexLockedError: The shard is open elsewhere.
        StorageFullError: No space for the new segments.
        StoreError: The process failed; the shard is as before.
    """
    # The other process must import this very package, installed or not.
    source = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    finished = subprocess.run(
        [sys.executable, "-m", "lusifer.embedded.optimize", str(shard)],
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode == 0:
        return
    try:
        message = json.loads(finished.stdout)["error"]
    except (ValueError, KeyError):
        tail = finished.stderr.strip()[-300:] or "no message"
        message = f"optimising ended with status {finished.returncode}: {tail}"
    raise translate(message, shard.parent)


def main(arguments: list[str]) -> int:
    """Run for the shard folder named in ``arguments``; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m lusifer.embedded.optimize SHARD\n")
        return 2
    try:
        answer: dict[str, object] = {"optimized": optimize_shard(Path(arguments[0]))}
    except LusiferError as error:
        cause = error.__cause__
        answer = {"error": str(cause) if cause is not None else error.message}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
