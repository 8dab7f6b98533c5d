"""``lusifer serve`` as a process, and ``lusifer keys``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "from lusifer.cli.app import main; main()"


def lusifer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
    )


@pytest.fixture
def process(tiny_bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    log = tmp_path / "log"
    with log.open("w") as file:
        command = ["serve", "--port", "0", "--no-canary", "--bundle", str(tiny_bundle)]
        started = subprocess.Popen([sys.executable, "-c", RUN, *command], stderr=file, text=True)
    address = None
    end = time.monotonic() + 60
    while address is None:
        assert time.monotonic() < end, log.read_text()
        assert started.poll() is None, log.read_text()
        if found := re.search(r'"url": "([^"]+)"', log.read_text()):
            address = found[1]
        time.sleep(0.05)
    while httpx.get(f"{address}/.well-known/ready").status_code != 204:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    yield started, address, log
    started.kill()
    started.wait()


def test_it_serves_logs_and_stops_in_order(process: tuple[subprocess.Popen[str], str, Path]) -> None:
    started, address, log = process
    answer = httpx.post(
        f"{address}/vectors", json={"text": "secret words"}, headers={"x-request-id": "mine-1"}
    )
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "mine-1"
    assert "server" not in answer.headers
    started.send_signal(signal.SIGTERM)
    started.wait(30)
    assert started.returncode in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (request,) = [line for line in lines if line.get("request_id") == "mine-1"]
    assert (request["protocol"], request["path"], request["status"]) == ("weaviate", "/vectors", 200)
    assert "secret" not in log.read_text()


def test_a_port_in_use_is_told_with_the_way_out(
    process: tuple[subprocess.Popen[str], str, Path], tiny_bundle: Path
) -> None:
    port = process[1].rsplit(":", 1)[1]
    done = lusifer("serve", "--port", port, "--bundle", str(tiny_bundle))
    assert done.returncode == 1
    assert "can't be listened on" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_that_is_missing_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    done = lusifer("serve", "--port", "0", "--bundle", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "No bundle at" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_are_checked_before_anything_is_loaded(tiny_bundle: Path) -> None:
    done = lusifer("serve", "--check", "--bundle", str(tiny_bundle))
    assert done.returncode == 0
    assert "lusifer-tiny-test" in done.stdout
    done = lusifer("serve", "--check", LUSIFER_SERVE_PRT="1")
    assert done.returncode == 1
    assert "did you mean port?" in done.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.toml")
    made = lusifer("keys", "add", "indexer", "--file", file, "--tokens-per-minute", "600")
    assert made.stdout.startswith("lusifer_")
    listed = json.loads(lusifer("keys", "list", "--json", "--file", file).stdout)
    assert [(key["name"], key["tokens_per_minute"]) for key in listed] == [("indexer", 600)]
    assert made.stdout.strip() not in (tmp_path / "keys.toml").read_text()
    assert lusifer("keys", "revoke", "indexer", "--file", file).returncode == 0
    assert lusifer("keys", "revoke", "indexer", "--file", file).returncode == 1
