"""The one definition of the bundle: a folder with everything that serving needs.

::

    my-bundle/
      manifest.json        the model's fields, size and sha256 of every other file; written last
      model.onnx           (input_ids, attention_mask) (B, T) int64
                           -> embedding (B, D) float32, unit norm
      model.onnx.data      weights outside the graph file, if any; above 2 GB also .data.1, ...
      tokenizer.json       Hugging Face tokenizers format
      parity_report.json   distance of the graph from the model it was exported from, and the
                           verdict of the quality gate
      probe.npz            a few inputs with the vectors that PyTorch computed, to test an engine

Export writes bundles with :func:`finish_bundle`, so that reader and writer can't drift apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lusifer.bundle.integrity import REBUILD, check_external_data, check_file
from lusifer.common.files import read_regular, sync, write_atomic
from lusifer.errors import (
    BundleCorruptError,
    BundleError,
    BundleGateError,
    BundleNotFoundError,
    BundleSchemaError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PRECISIONS",
    "SCHEMA_VERSION",
    "Bundle",
    "FileRecord",
    "Manifest",
    "ManifestFields",
    "Precision",
    "RolePrompts",
    "compute_fingerprint",
    "file_record",
    "finish_bundle",
]

SCHEMA_VERSION = 1
"""Newest manifest schema that this version reads, and the one that it writes."""

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
TOKENIZER_NAME = "tokenizer.json"
PARITY_NAME = "parity_report.json"
PROBE_NAME = "probe.npz"
_REQUIRED = (MODEL_NAME, TOKENIZER_NAME, PARITY_NAME)

Precision = Literal["int4", "int8-dynamic", "int8", "fp16", "bf16", "fp32"]
"""Precision of weights and arithmetic, smallest first.

``int8`` and ``int4`` have weights in blocks with one scale each, and an int8 token table. ``int8``
computes in fp32. ``int8-dynamic`` and ``int4`` also round activations to int8, each row in blocks
with their own scales. ``fp16`` and ``bf16`` apply to the inputs of matrix products; norms, softmax
and pooling stay in fp32.
"""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# Bounds far above any model: what is read from a manifest decides how much memory is asked for.
Dimension = Annotated[int, Field(gt=0, le=65_536)]
Tokens = Annotated[int, Field(gt=0, le=2**20)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(min_length=1, max_length=500)]
_MANIFEST_BYTES = 16 * 2**20
_FILES = 10_000
_PROBLEMS_SHOWN = 10
_SMALL_BYTES = {TOKENIZER_NAME: 2**28, PARITY_NAME: 2**28, PROBE_NAME: 2**28}
"""Largest size of the files that are loaded whole."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileRecord(_Frozen):
    """Size and hash of one file of the bundle."""

    bytes: Annotated[int, Field(ge=0, le=2**46)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RolePrompts(_Frozen):
    """Prompt that precedes a text, by role; the text follows directly."""

    query: Annotated[str, Field(max_length=10_000)]
    document: Annotated[str, Field(max_length=10_000)]


class ManifestFields(_Frozen):
    """Fields of the manifest that the exporter knows before the files are written."""

    schema_version: Literal[1] = 1
    name: Name
    """Display name of the model."""
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Identity of the vectors, from :func:`compute_fingerprint`."""
    dimension: Dimension
    """Length D of the vectors that the graph computes."""
    matryoshka_dimensions: Annotated[tuple[Dimension, ...], Field(strict=False, max_length=1000)]
    """Lengths a vector may be cut to, descending, ``dimension`` first."""
    role_prompts: RolePrompts
    maximum_tokens: Tokens
    """Longest input T in tokens, prompt and special tokens included."""
    pad_token_id: TokenId
    precision: Precision
    gate: Literal["passed", "failed"] = "passed"
    """Verdict of the comparison with PyTorch. A bundle without this field passed: before there was
    the field, no other bundle was written."""
    languages_evaluated: Annotated[tuple[Name, ...], Field(strict=False, max_length=10_000)]
    """ISO 639 codes of the languages with a measured result; others may work, but are untested."""
    created_with: Annotated[dict[Name, Name], Field(max_length=1000)]
    """Package versions on the machine that exported."""

    @model_validator(mode="after")
    def _dimensions_descend(self) -> ManifestFields:
        dims = self.matryoshka_dimensions
        if not dims or dims[0] != self.dimension or any(a <= b for a, b in pairwise(dims)):
            raise ValueError(
                f"matryoshka_dimensions must descend from dimension {self.dimension}, "
                f"got {list(dims)}"
            )
        return self


class Manifest(ManifestFields):
    """Content of ``manifest.json``: the fields, and size and sha256 of every file."""

    files: Annotated[dict[Name, FileRecord], Field(max_length=_FILES)]
    """Record of each file by its path inside the bundle."""

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        # A bundle may come from an untrusted source: it must not make us read other folders.
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or name == MANIFEST_NAME:
                raise ValueError(f"file name {name!r} is not a path inside the bundle")
        if missing := [name for name in _REQUIRED if name not in files]:
            raise ValueError(f"the list of files lacks {', '.join(missing)}")
        for name, limit_bytes in _SMALL_BYTES.items():
            if name in files and files[name].bytes > limit_bytes:
                raise ValueError(
                    f"{name} has {files[name].bytes} bytes, at most {limit_bytes} are read"
                )
        return files


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; only :meth:`open` and :func:`finish_bundle` make one."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.path / MODEL_NAME

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer in Hugging Face tokenizers format."""
        return self.path / TOKENIZER_NAME

    @property
    def probe_path(self) -> Path | None:
        """Inputs with their right vectors; None in a bundle of an older version without them."""
        return self.path / PROBE_NAME if PROBE_NAME in self.manifest.files else None

    @classmethod
    def open(
        cls, path: Path | str, *, verify: bool = True, allow_failed_gate: bool = False
    ) -> Bundle:
        """Read the manifest and check every file against it.

        Args:
            path: The bundle's folder.
            verify: Also hash the files, which reads all weights once. Sizes are always compared.
            allow_failed_gate: Open a bundle that failed the quality gate, to study it. So does
                ``LUSIFER_ALLOW_FAILED_GATE=1`` in the environment.

        Raises:
            BundleGateError: The bundle failed export's quality gate.
            BundleNotFoundError: There is no folder, or it has no manifest.
            BundleSchemaError: A newer version of LUSIFER wrote the bundle.
            BundleCorruptError: The manifest can't be read, or a file is missing, cut short,
                changed, or no regular file of the folder; or the graph reads a file that the
                manifest does not list.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        allowed = allow_failed_gate or os.environ.get("LUSIFER_ALLOW_FAILED_GATE") == "1"
        if manifest.gate == "failed" and not allowed:
            raise BundleGateError(
                f"The bundle {path} failed its gate: its {manifest.precision} vectors are not the "
                f"model's. Its {PARITY_NAME} lists the languages.",
                next_step="Export with --precision auto, or set LUSIFER_ALLOW_FAILED_GATE=1 to "
                "study it.",
            )
        root = path.resolve()
        for name, record in manifest.files.items():
            sha256 = record.sha256 if verify else None
            check_file(root, name, size_bytes=record.bytes, sha256=sha256)
        check_external_data(root / MODEL_NAME, manifest.files)
        return cls(path, manifest)


def compute_fingerprint(parts: Mapping[str, object]) -> str:
    """Compute the identity of a model's vectors.

    Two bundles with the same fingerprint may share an index.

    Args:
        parts: JSON-ready values that determine a vector, in any order. Export passes ``weights``
            (sha256 by file), ``tokenizer`` (sha256), ``role_prompts``, ``pooling``, ``dimension``
            and ``precision``.

    Returns:
        ``"sha256:"`` and 64 hexadecimal digits, over the canonical JSON (sorted keys, no spaces,
        UTF-8).

    Raises:
        TypeError: A part can't be written as JSON.
        ValueError: A part holds NaN or an infinity, which JSON lacks.
    """
    canonical = json.dumps(
        parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def file_record(path: Path) -> FileRecord:
    """Return size and sha256 of a file, read once in constant memory."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(bytes=file.tell(), sha256=digest)


def finish_bundle(staging: Path, target: Path, fields: ManifestFields) -> Bundle:
    """Turn a folder of model files into a bundle, whole or not at all.

    The manifest is written last and the folder is moved in one rename, so a reader never sees half
    a bundle. A bundle that exists at ``target`` is moved aside first, and put back if the second
    rename fails.

    Args:
        staging: Folder with ``model.onnx`` and its data, ``tokenizer.json`` and
            ``parity_report.json``; it is gone afterwards. It must be on the filesystem of
            ``target``: make it a sibling.
        target: Path of the bundle; an existing bundle there is replaced.
        fields: The manifest without its files.

    Raises:
        BundleCorruptError: A required file is missing in ``staging``, or ``staging`` has a link.
        BundleError: ``target`` holds something that is not a bundle, or lies on another filesystem.
    """
    staging, target = Path(staging), Path(target)
    if target.exists() and not (target / MANIFEST_NAME).is_file() and any(target.iterdir()):
        raise BundleError(
            f"{target} holds files that are no bundle.",
            next_step="Choose another target, or empty that folder.",
        )
    # A staging folder of an earlier try may hold a manifest that is no longer true.
    (staging / MANIFEST_NAME).unlink(missing_ok=True)
    files: dict[str, FileRecord] = {}
    for file in sorted(staging.rglob("*")):
        if file.is_symlink():
            raise BundleCorruptError(
                f"{file} is a link.", next_step="Copy the file itself into the bundle."
            )
        if file.is_file():
            files[file.relative_to(staging).as_posix()] = file_record(file)
            sync(file)
    if missing := [name for name in _REQUIRED if name not in files]:
        raise BundleCorruptError(
            f"{staging} lacks {', '.join(missing)}.",
            next_step="Write every file of the bundle before finishing.",
        )
    manifest = Manifest(**fields.model_dump(), files=files)
    write_atomic(staging / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
    _swap(staging, target)
    return Bundle(target, manifest)


def _swap(staging: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if staging.stat().st_dev != target.parent.stat().st_dev:
        raise BundleError(
            f"{staging} and {target.parent} lie on different filesystems, so the move would not be "
            "atomic.",
            next_step="Put the staging folder beside the target.",
        )
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    replaced = target.exists()
    if replaced:
        target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        if replaced:
            aside.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _read_manifest(path: Path) -> Manifest:
    manifest_path = path / MANIFEST_NAME
    try:
        raw = read_regular(manifest_path, _MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = (
            f"The folder {path} has no {MANIFEST_NAME}"
            if path.is_dir()
            else f"There is no folder {path}"
        )
        raise BundleNotFoundError(
            f"No bundle at {path}: {reason}.",
            next_step="Name the folder of a bundle, or leave the path out.",
        ) from error
    except OSError as error:
        raise BundleCorruptError(f"{error}.", next_step=REBUILD) from error
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleCorruptError(
            f"{manifest_path} is not JSON: {error}.", next_step=REBUILD
        ) from error
    # Checked before anything else: the fields of a newer schema are unknown, and the message
    # "unknown field" would make the reader look for a damaged file.
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleSchemaError(
            f"The bundle {path} has schema version {version}, this LUSIFER reads up to "
            f"{SCHEMA_VERSION}.",
            next_step="Upgrade with pip install --upgrade lusifer, or use a bundle made by this "
            "version.",
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))[:100] or 'manifest'}: {e['msg'][:200]}"
            for e in error.errors()[:_PROBLEMS_SHOWN]
        )
        raise BundleCorruptError(
            f"{manifest_path} is not valid: {problems}.", next_step=REBUILD
        ) from error
