"""``lusifer serve`` as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import typer
from plugin.tests.cli.commands import MAIN
from typer.testing import CliRunner

from lusifer.cli.app import app
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def lusifer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*MAIN, *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=240,
    )


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60, trust_env=False)


def wait_until(condition: Callable[[], Any], timeout_s: float = 120) -> Any:
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


def listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=60).close()
    except OSError:
        return False
    return True


@pytest.fixture
def process(tiny_bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    log = tmp_path / "log"
    with log.open("w") as file:
        command = ["serve", "--port", "0", "--no-canary", "--bundle", str(tiny_bundle)]
        started = subprocess.Popen([*MAIN, *command], stderr=file, text=True)

    def address() -> str | None:
        assert started.poll() is None, log.read_text()
        found = re.search(r'"url": "([^"]+)"', log.read_text())
        return found[1] if found else None

    try:
        url = wait_until(address)
        wait_until(lambda: get(f"{url}/.well-known/ready").status_code == 204)
        yield started, url, log
    finally:
        started.kill()
        started.wait()


def test_it_serves_logs_and_stops_in_order(
    process: tuple[subprocess.Popen[str], str, Path],
) -> None:
    started, address, log = process
    answer = httpx.post(
        f"{address}/vectors",
        json={"text": "secret words"},
        headers={"x-request-id": "mine-1"},
        timeout=60,
        trust_env=False,
    )
    wrong = get(f"{address}/v1/embeds")
    assert wrong.status_code == 404
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == "mine-1"
    assert "server" not in answer.headers
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (request,) = [line for line in lines if line.get("request_id") == "mine-1"]
    assert (request["protocol"], request["path"], request["status"]) == (
        "weaviate",
        "/vectors",
        200,
    )
    assert "secret" not in log.read_text()
    # A database with a wrong address shows in the log as well.
    (lost,) = [line for line in lines if line.get("status") == 404]
    assert (lost["method"], lost["path"]) == ("GET", "/v1/embeds")
    assert lost["request_id"] == wrong.headers["x-request-id"]


def test_a_request_in_flight_is_answered_after_sigterm(
    process: tuple[subprocess.Popen[str], str, Path],
) -> None:
    started, address, _ = process
    place = (address.split("/")[2].split(":")[0], int(address.rsplit(":", 1)[1]))
    body = b'{"text": "half before the signal, half after it"}'
    with socket.create_connection(place, timeout=60) as connection:
        head = b"POST /vectors HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body[:20])
        wait_until(lambda: get(f"{address}/status").json()["load"]["in_flight_requests"] == 1)
        started.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(place))
        connection.sendall(body[20:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        assert len(json.loads(answer.read())["vector"]) == 16
    assert started.wait(60) in {0, -signal.SIGTERM}


def test_a_port_in_use_is_reported_with_the_fix(
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
    done = lusifer(
        "serve", "--check", "--deadlines=5", "--keep-alive-s", "60", LUSIFER_SERVE_PRT="1"
    )
    assert done.returncode == 1
    assert "prt (the environment), did you mean port?" in done.stderr
    assert "deadlines (the command line), did you mean deadline_s?" in done.stderr
    assert "keep_alive_s is '60' in the command line" in done.stderr


def test_every_setting_is_a_flag(tiny_bundle: Path) -> None:
    bundle = ("--bundle", str(tiny_bundle))
    for name, field in Settings.model_fields.items():
        value = {
            "engine": "onnx",
            "bundle": str(tiny_bundle),
            "model_aliases": "a,b",
            "allowed_hosts": "search.example",
            "cors_origins": "https://a.example,null",
        }.get(name, field.default)
        if value is None or name in {"canary", "open", "bundle"}:
            continue
        flag = f"--{name.replace('_', '-')}"
        result = CliRunner().invoke(app, ["serve", "--check", *bundle, flag, str(value)])
        assert result.exit_code == 0, (flag, result.stderr)
    for flags in (["--no-canary"], ["--host", "0.0.0.0", "--open"]):  # noqa: S104
        assert CliRunner().invoke(app, ["serve", "--check", *bundle, *flags]).exit_code == 0
    for wrong in (["--deadline-s"], ["60"], ["--host", "0.0.0.0"]):  # noqa: S104
        assert CliRunner().invoke(app, ["serve", "--check", *bundle, *wrong]).exit_code in {1, 2}


def _help(option: str) -> str:
    command = typer.main.get_command(app).commands["serve"]
    (found,) = [
        each
        for each in command.get_params(command.context_class(command, info_name="serve"))
        if each.name == option
    ]
    return str(found.help)


def test_the_help_has_the_default_of_each_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _help("port") == "Port to listen on; 0 takes a free one. Default: 8000."
    assert _help("cache").endswith("One of memory, disk, off. Default: memory.")
    assert "Default" not in _help("threads")
    assert _help("config") == "TOML file with any of the settings."
    for name in ("host", "engine", "long_text", "batch_tokens", "queue_tokens", "log_format"):
        assert _help(name).endswith(f"Default: {Settings.model_fields[name].default}."), name
    monkeypatch.setattr(Settings.model_fields["port"], "default", 9876)
    assert _help("port").endswith("Default: 9876.")
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "160"})
    assert "Default: 9876." in shown.stdout
    # A table of rich takes [default: 1024] for markup and drops it.
    assert "Default: 1024." in shown.stdout
