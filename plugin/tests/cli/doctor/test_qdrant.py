from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qdrant_client")

from plugin.tests.cli.commands import run

from lusifer.cli.doctor import qdrant as doctor_qdrant
from lusifer.qdrant import doctor
from lusifer.stores.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "http://127.0.0.1:9"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace server and doctor; return what the doctor is asked."""
    asked: list[dict[str, Any]] = []

    @contextmanager
    def connected(url: str, **options: Any) -> Iterator[str]:
        yield f"client of {url}, {options}"

    def examine(client: str, **options: Any) -> Iterator[Diagnostic]:
        asked.append({"client": client, **options})
        yield Diagnostic("ok", "server", "Qdrant 1.19.0.")

    monkeypatch.setattr(doctor_qdrant, "connected", connected)
    monkeypatch.setattr(doctor, "examine", examine)
    return asked


def test_a_service_alone_needs_no_model(asked: list[dict[str, Any]]) -> None:
    code, stdout, _ = run("doctor", "qdrant", URL, "--service", "http://gpu:8000", "--grpc")
    assert (code, stdout) == (0, "ok       server: Qdrant 1.19.0.\n")
    assert asked == [
        {
            "client": f"client of {URL}, {{'grpc': True, 'timeout_s': 30}}",
            "collection": None,
            "embedder": None,
            "service_url": "http://gpu:8000",
        }
    ]


def test_a_bundle_is_compared_with_the_collection(
    asked: list[dict[str, Any]], tiny_bundle: Path
) -> None:
    options = ("--collection", "c", "--bundle", tiny_bundle, "--service", "http://gpu:8000")
    assert run("doctor", "qdrant", URL, *options)[0] == 0
    (given,) = asked
    assert (given["collection"], given["service_url"]) == ("c", "http://gpu:8000")
    assert given["embedder"].model_name == "lusifer-tiny-test"
