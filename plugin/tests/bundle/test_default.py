from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from lusifer.bundle.default import default_bundle
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_environment_names_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_BUNDLE", str(tmp_path / "b"))
    assert default_bundle() == tmp_path / "b"


def test_default_bundle_is_built_by_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUSIFER_BUNDLE", raising=False)
    monkeypatch.setenv("LUSIFER_CACHE", os.fspath(tmp_path))
    export = ModuleType("lusifer_export.default")
    export.build_default_bundle = lambda folder, precision: folder / precision  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lusifer_export", ModuleType("lusifer_export"))
    monkeypatch.setitem(sys.modules, "lusifer_export.default", export)
    assert default_bundle() == tmp_path / "bundles" / "int8-dynamic"
    monkeypatch.setitem(sys.modules, "lusifer_export.default", None)
    with pytest.raises(MissingExtraError) as caught:
        default_bundle()
    assert "pip install 'lusifer[export]'" in caught.value.next_step
