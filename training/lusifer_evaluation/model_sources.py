"""From a word on the command line to something that embeds."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer_training.embed_function import EmbedFunction, Role

__all__ = ["NAMED", "checkpoint_folder", "named_source", "open_source"]


# PyTorch is imported where a checkpoint is opened: a cached evaluation of a bundle ends before it
# would be.


def _default() -> Path:
    from lusifer_training.config import default_checkpoint

    return default_checkpoint()


def _encoder_only() -> Path:
    return _default().with_name("encoder-only")


def _checkpoint(folder: Path, *, projected: bool = True) -> EmbedFunction:
    from lusifer_training.embedders import checkpoint_embedder

    return checkpoint_embedder(folder, projected=projected)


def _raw_encoder() -> EmbedFunction:
    from lusifer_training.embedders import raw_encoder_embedder

    return raw_encoder_embedder(_default())


def _raw_llm() -> EmbedFunction:
    from lusifer_training.embedders import raw_llm_embedder

    return raw_llm_embedder(_default())


NAMED: dict[str, Callable[[], EmbedFunction]] = {
    "raw-encoder": _raw_encoder,
    "raw-llm": _raw_llm,
    "encoder-only": lambda: _checkpoint(_encoder_only()),
    "lusifer-unprojected": lambda: _checkpoint(_default(), projected=False),
    "lusifer": lambda: _checkpoint(_default()),
    "bundle": lambda: _bundle(_default_bundle()),
}
"""The default model, the controls it is measured against, and its bundle, which is what serves."""


def named_source(source: str) -> tuple[str, str]:
    """``NAME=SOURCE`` to the name of a column and the source; a source alone is its own name."""
    name, equals, rest = source.partition("=")
    return (name, rest) if equals and "/" not in name else (source, source)


def checkpoint_folder(source: str) -> Path | None:
    """The checkpoint that a source names, where it names one."""
    folder = {"lusifer": _default(), "encoder-only": _encoder_only()}.get(source, Path(source))
    return folder if (folder / "adapter.safetensors").is_file() else None


def open_source(source: str) -> EmbedFunction:
    """Open anything that embeds.

    Args:
        source: A name in ``NAMED``; ``http://HOST:PORT`` of a running ``lusifer serve``; the folder
            of a checkpoint, a bundle or a sentence-transformers model; ``unprojected:FOLDER`` for a
            checkpoint without its language projection; or ``MODULE:FUNCTION``, a function of texts
            and role.

    Raises:
        ConfigError: It is none of these.
        CheckpointError: A checkpoint can't be read.
    """
    if source in NAMED:
        return NAMED[source]()
    if source.startswith(("http://", "https://")):
        return _service(source)
    if source.startswith("unprojected:"):
        return _checkpoint(Path(source.partition(":")[2]), projected=False)
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        return _bundle(folder)
    if (folder / "adapter.safetensors").is_file():
        return _checkpoint(folder)
    if (folder / "modules.json").is_file():
        return _sentence_transformers(folder)
    if not folder.exists() and source.count(":") == 1:
        return _function(*source.split(":"))
    raise ConfigError(
        f"{source!r} is nothing that embeds.",
        next_step=f"Name one of {', '.join(NAMED)}, a service's http:// address, MODULE:FUNCTION, or the "
        "folder of a checkpoint, a bundle or a sentence-transformers model.",
    )


def _default_bundle() -> Path:
    from lusifer.bundle.default import default_bundle

    return default_bundle()


class _Plugin:
    """A bundle or a service through the plugin, whose reader is the one definition of the format.

    Args:
        identity: See :class:`EmbedFunction`.
        load: Opens it when the first text has to be computed: a cached evaluation never does.
    """

    def __init__(self, identity: str, load: Callable[[], Any]) -> None:
        self.identity = identity
        self._load = load

    @cached_property
    def _opened(self) -> Any:
        return self._load()

    def __call__(self, texts: Sequence[str], role: Role) -> np.ndarray:
        embed = self._opened.embed_queries if role == "query" else self._opened.embed_documents
        vectors: np.ndarray = embed(list(texts)).vectors
        return vectors

    def close(self) -> None:
        """Give up the session or the connection."""
        self._opened.close()


def _bundle(folder: Path) -> EmbedFunction:
    from lusifer.bundle.format import Bundle
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.engines.selection import choose_engine, default_engine, open_engine

    bundle = Bundle.open(folder)
    engine = default_engine()
    if engine == "auto":
        engine = choose_engine(bundle).engine

    def load() -> Vectorizer:
        _keep_freed_memory()
        return Vectorizer(bundle, open_engine(engine, bundle))

    # Engines round differently.
    return _Plugin(f"bundle:{bundle.manifest.fingerprint}:{engine}", load)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next batch.

    It hands blocks of many megabytes back to the system each time, and asking for them again costs
    batches of long texts a fifth of their time. A process that only evaluates can keep its peak.
    """
    mmap_threshold, trim_threshold = -3, -1
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        for option in (mmap_threshold, trim_threshold):
            libc.mallopt(option, 1 << 30)


def _service(url: str) -> EmbedFunction:
    from lusifer.embedding.remote import RemoteVectorizer

    service = RemoteVectorizer(url)
    return _Plugin(f"service:{service.fingerprint}", lambda: service)


class _Function:
    def __init__(self, identity: str, function: Callable[[Sequence[str], Role], Any]) -> None:
        self.identity = identity
        self._function = function

    def __call__(self, texts: Sequence[str], role: Role) -> np.ndarray:
        vectors = np.asarray(self._function(list(texts), role), dtype=np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _function(module: str, name: str) -> EmbedFunction:
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{module}:{name} can't be imported: {error}.",
            next_step="Write MODULE:FUNCTION, with the module's folder on PYTHONPATH.",
        ) from error
    file = getattr(importlib.import_module(module), "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return _Function(f"function:{module}:{name}:{digest}", function)


def _sentence_transformers(folder: Path) -> EmbedFunction:
    from sentence_transformers import SentenceTransformer

    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        # These two put the model's own prompts before the texts, where it has any.
        encode = model.encode_query if role == "query" else model.encode_document
        vectors: np.ndarray = encode(list(texts), show_progress_bar=False)
        return vectors

    return _Function(f"sentence-transformers:{digest.hexdigest()}", embed)
