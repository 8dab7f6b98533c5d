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
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integration_tests.qdrant_server import QdrantUnderTest, qdrant_under_test  # noqa: F401
from plugin.tests.conftest import make_bundle
from plugin.tests.reindex.support import fast_folder
from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app
from lusifer.embedded.collections import EmbeddedCollections

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
    result = CliRunner().invoke(
        app, [str(each) for each in (*arguments, "--json")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def vectors(database: Path, name: str) -> dict[str, Any]:
    with EmbeddedCollections(database).open(name) as store:
        payloads, _ = store.read(None, 10_000)
        found = store.retrieve(list(payloads), fields=False, vectors=True)
    return {payload["id"]: (payload, found[key][1]) for key, payload in payloads.items()}


def embedders(process: subprocess.Popen[bytes]) -> list[Any]:
    """Return the worker processes of this cluster that hold a model."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [each for each in children if "_Embedder" in " ".join(each.cmdline())]


def written(folder: Path) -> tuple[list[Path], Path]:
    """Write two models and a file of documents."""
    bundles = [folder / f"bundle{seed}" for seed in (0, 1)]
    for seed, bundle in enumerate(bundles):
        make_bundle(folder / f"staging{seed}", bundle, seed=seed)
    chooser = random.Random(0)
    source = folder / "documents.jsonl"
    with source.open("w") as lines:
        for n in range(COUNT):
            words = " ".join("".join(chooser.choices("abcdefgh", k=5)) for _ in range(4))
            lines.write(json.dumps({"id": f"d{n}", "text": words, "lang": "en"}) + "\n")
    return bundles, source


@pytest.mark.slow
def test_two_workers_one_of_them_killed(folder: Path) -> None:
    bundles, source = written(folder)
    database = folder / "database"
    command("index", source, "--index", database, "--collection", "v1", "--bundle", bundles[0])
    EmbeddedCollections(database).set_alias("live", "v1")
    plan = ["reindex", "plan", "--index", database, "--collection", "live", "--bundle", bundles[1]]
    command(*plan, "--job", folder / "here", "--new-collection", "here", "--window", 16)
    command("reindex", "run", folder / "here")
    # Slow enough for a worker to be killed in the middle.
    command(
        *plan,
        "--job",
        folder / "ray",
        "--new-collection",
        "ray",
        "--window",
        8,
        "--tokens-per-s",
        1200,
    )
    run = [
        *MAIN,
        "reindex",
        "run",
        str(folder / "ray"),
        "--ray",
        "local",
        "--workers",
        "2",
        "--json",
    ]
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


@pytest.mark.slow
def test_a_server_from_two_workers(folder: Path, qdrant: QdrantUnderTest) -> None:
    """Workers read ranges of ids, and write under the server's guards."""
    bundles, source = written(folder)
    old, alias, here, there = (f"test-{uuid.uuid4().hex[:12]}" for _ in range(4))
    where = ["--qdrant", qdrant.url, "--collection"]
    client = qdrant.client()
    try:
        command(
            "qdrant",
            "setup",
            qdrant.url,
            "--collection",
            old,
            "--alias",
            alias,
            "--bundle",
            bundles[0],
        )
        command("index", source, *where, old, "--bundle", bundles[0])
        plan = ["reindex", "plan", *where, alias, "--bundle", bundles[1], "--window", 32]
        for name in (here, there):
            command(*plan, "--job", folder / name, "--new-collection", name)
        command("reindex", "run", folder / here)
        ray = ["--ray", "local", "--workers", "2", "--maximum-passes", "1"]
        run = [*MAIN, "reindex", "run", str(folder / there), *ray, "--json"]
        done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        report = json.loads(done.stdout)
        assert report["totals"]["written"] == COUNT
        alone, together = (
            {each.id: each for each in client.scroll(name, limit=COUNT + 1, with_vectors=True)[0]}
            for name in (here, there)
        )
        assert len(alone) == COUNT
        assert {key: each.payload for key, each in alone.items()} == {
            key: each.payload for key, each in together.items()
        }
        for key, each in alone.items():
            np.testing.assert_allclose(
                together[key].vector["lusifer"], each.vector["lusifer"], atol=1e-6, err_msg=str(key)
            )
    finally:
        for each in (old, here, there):
            client.delete_collection(each)
        client.close()
