from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("weaviate")

from plugin.tests.cli.commands import run, run_json

from lusifer.errors import StoreUnavailableError
from lusifer.stores.diagnostics import Diagnostic
from lusifer.weaviate import connection, doctor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "http://127.0.0.1:9"


def test_a_server_that_is_away_is_a_diagnostic(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    def connect(url: str) -> None:
        raise StoreUnavailableError(f"No answer from {url}.", next_step="Start it.")

    monkeypatch.setattr(connection, "connect_by_environment", connect)
    command = ("doctor", "weaviate", URL, "--collection", "C", "--bundle", tiny_bundle)
    assert run(*command) == (
        1,
        "ERROR    server: No answer from http://127.0.0.1:9.\n         → Start it.\n",
        "",
    )
    assert run_json(*command) == (
        1,
        [
            {
                "severity": "error",
                "subject": "server",
                "message": "No answer from http://127.0.0.1:9.",
                "fix": "Start it.",
            }
        ],
    )


def test_the_doctor_gets_the_options(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    asked: list[dict[str, Any]] = []

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            asked.append({"closed": True})

    def examine(client: Client, **options: Any) -> Iterator[Diagnostic]:
        asked.append(options)
        yield Diagnostic("ok", "server", "Weaviate 1.34.0.")

    monkeypatch.setattr(connection, "connect_by_environment", lambda url: Client())
    monkeypatch.setattr(doctor, "examine", examine)
    options = ("--bundle", tiny_bundle, "--service", "http://gpu:8000", "--tenant", "t")
    assert run("doctor", "weaviate", URL, *options)[:2] == (
        0,
        "ok       server: Weaviate 1.34.0.\n",
    )
    given, closed = asked
    assert given.pop("embedder").model_name == "lusifer-tiny-test"
    assert given == {"collection": None, "tenant": "t", "service_url": "http://gpu:8000"}
    assert closed == {"closed": True}
