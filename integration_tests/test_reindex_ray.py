"""A local Ray cluster of two workers: the same result as the local runner, even when one is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin.tests.conftest import make_bundle
from plugin.tests.reindex_world import fast_folder
from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app
from lusifer.qdrant.collections import EmbeddedCollections

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

COUNT = 160
MAIN = [sys.executable, "-c", "from lusifer.cli.app import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(lusifer.__file__).parents[1])}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = fast_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def command(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in (*arguments, "--json")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def vectors(database: Path, name: str) -> dict[str, Any]:
    with EmbeddedCollections(database).open(name) as store:
        payloads, _ = store.read(None, 10_000)
        found = store.retrieve(list(payloads), fields=False, vectors=True)
    return {payload["id"]: (payload, found[key][1]) for key, payload in payloads.items()}


def embedders(process: subprocess.Popen[bytes]) -> list[Any]:
    """Worker processes of this cluster that hold a model."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [each for each in children if "_Embedder" in " ".join(each.cmdline())]


@pytest.mark.slow
def test_two_workers_one_of_them_killed(folder: Path) -> None:
    bundles = []
    for seed in (0, 1):
        make_bundle(folder / f"staging{seed}", folder / f"bundle{seed}", seed=seed)
        bundles.append(folder / f"bundle{seed}")
    chooser = random.Random(0)
    source, database = folder / "documents.jsonl", folder / "database"
    with source.open("w") as lines:
        for n in range(COUNT):
            words = " ".join("".join(chooser.choices("abcdefgh", k=5)) for _ in range(4))
            lines.write(json.dumps({"id": f"d{n}", "text": words, "lang": "en"}) + "\n")
    command("index", source, "--index", database, "--collection", "v1", "--bundle", bundles[0])
    EmbeddedCollections(database).set_alias("live", "v1")
    plan = ["reindex", "plan", "--index", database, "--collection", "live", "--bundle", bundles[1]]
    command(*plan, "--job", folder / "here", "--new-collection", "here", "--window", 16)
    command("reindex", "run", folder / "here")
    # Slow enough for a worker to be killed in the middle.
    command(*plan, "--job", folder / "ray", "--new-collection", "ray", "--window", 8, "--tokens-per-s", 1200)
    run = [*MAIN, "reindex", "run", str(folder / "ray"), "--ray", "local", "--workers", "2", "--json"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(run, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            state = folder / "ray" / "state.json"
            while not state.exists() or json.loads(state.read_bytes())["current"]["written"] < 24:
                assert process.poll() is None, (folder / "log").read_text()[-3000:]
                time.sleep(0.05)
            at_work = embedders(process)
            assert len(at_work) == 2
            os.kill(at_work[0].pid, signal.SIGKILL)
            assert process.stdout is not None
            printed = process.stdout.read()
        finally:
            process.terminate()
            process.wait()
    assert process.returncode == 0, (folder / "log").read_text()[-3000:]
    report = json.loads(printed)
    assert report["phase"] == "settled"
    assert report["passes"][-1]["stale"] == 0
    assert sum(each["read"] for each in report["passes"]) == len(report["passes"]) * COUNT
    alone, together = vectors(database, "here"), vectors(database, "ray")
    assert len(alone) == COUNT
    assert {id_: payload for id_, (payload, _) in alone.items()} == {
        id_: payload for id_, (payload, _) in together.items()
    }
    for id_, (_, vector) in alone.items():
        np.testing.assert_allclose(together[id_][1], vector, atol=1e-6)
    assert command("reindex", "verify", folder / "ray")["verification"]["problems"] == []
