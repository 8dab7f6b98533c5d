from __future__ import annotations

import json
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from export.tests.helpers import names

from lusifer.bundle.format import Bundle
from lusifer.common.files import acquire_lock
from lusifer_export import build as build_module
from lusifer_export import default as default_module
from lusifer_export.default import build_default_bundle
from lusifer_export.fingerprint import checkpoint_fingerprint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def exports(checkpoint: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect the exports that are started; each copies the bundle."""
    asked: list[Path] = []

    def export(source: Path, target: Path, *, precision: str) -> Bundle:
        asked.append(target)
        shutil.copytree(bundle.path, target)
        return Bundle.open(target)

    monkeypatch.setattr(default_module, "default_checkpoint", lambda: checkpoint)
    monkeypatch.setattr(build_module, "export_checkpoint", export)
    return asked


def test_it_is_built_once(exports: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    first = build_default_bundle(tmp_path / "bundles", "fp32")
    assert build_default_bundle(tmp_path / "bundles", "fp32") == first
    assert exports == [first]
    digits = checkpoint_fingerprint(checkpoint, "fp32").removeprefix("sha256:")
    assert first.name == f"tiny-fp32-{digits[:12]}"


@pytest.mark.parametrize(
    "damage", ["cut weights", "no manifest", "broken manifest", "another fingerprint"]
)
def test_a_damaged_one_is_built_again(exports: list[Path], tmp_path: Path, damage: str) -> None:
    target = build_default_bundle(tmp_path, "fp32")
    manifest = target / "manifest.json"
    if damage == "cut weights":
        with (target / "model.onnx.data").open("r+b") as file:
            file.truncate(100)
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_text("{")
    else:
        values = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**values, "fingerprint": "sha256:" + "0" * 64}))
    assert build_default_bundle(tmp_path, "fp32") == target
    assert len(exports) == 2
    assert Bundle.open(target)


def test_what_a_killed_export_left_is_cleared(exports: list[Path], tmp_path: Path) -> None:
    target = build_default_bundle(tmp_path, "fp32")
    shutil.rmtree(target)
    (tmp_path / f".{target.name}.k1ll3d").mkdir()
    (tmp_path / f".{target.name}.k1ll3d" / "model.onnx.data").touch()
    (tmp_path / ".tiny-int8-000000000000.k1ll3d").mkdir()
    build_default_bundle(tmp_path, "fp32")
    # Another bundle's may still be at work.
    left = {".tiny-int8-000000000000.k1ll3d", f".{target.name}.lock", target.name}
    assert set(names(tmp_path)) == left


def test_two_commands_at_once_build_it_once(exports: list[Path], tmp_path: Path) -> None:
    target = build_default_bundle(tmp_path, "fp32")
    shutil.rmtree(target)
    lock = acquire_lock(tmp_path / f".{target.name}.lock")
    other = threading.Thread(target=build_default_bundle, args=(tmp_path, "fp32"))
    other.start()
    other.join(0.3)
    assert other.is_alive(), "it did not wait for the lock"
    assert len(exports) == 1
    lock.release()
    other.join(20)
    assert exports == [target, target]
