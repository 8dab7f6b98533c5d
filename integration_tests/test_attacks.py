"""Attacks on a real ``lusifer serve`` beside honest traffic, which must not suffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from integration_tests.attacks import Honest, Serving, make_bundle, unharmed

from lusifer.service.auth import add_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return make_bundle(folder / "model")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """Make two API keys, by name."""
    return {name: add_key(folder / "keys.toml", name) for name in ("honest", "attacker")}


@pytest.fixture(scope="module")
def serving(folder: Path, bundle: Path, keys: dict[str, str]) -> Iterator[Serving]:
    """Serve with API keys and without a cache, whose hits would hide a stopped engine."""
    made = Serving(folder, bundle, cache="off", api_keys_file=folder / "keys.toml")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def honest(serving: Serving, folder: Path, keys: dict[str, str]) -> Iterator[Honest]:
    made = Honest(serving, folder, key=keys["honest"])
    yield made
    made.close()


def test_honest_traffic_alone_meets_the_bars(serving: Serving, honest: Honest) -> None:
    with unharmed(serving, honest) as outcome:
        assert serving.http.get("/.well-known/ready").status_code == 204
    assert len(outcome.latencies_s) >= 10
