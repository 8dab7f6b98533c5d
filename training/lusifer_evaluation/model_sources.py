"""Open the model that is named on the command line."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from lusifer.embedding.remote import RemoteVectorizer
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["NAMED", "checkpoint_folder", "named_source", "open_source"]


# PyTorch is imported where a checkpoint is opened, so that a cached evaluation of a bundle never
# imports it.


def _default() -> Path:
    from lusifer_training.config import default_checkpoint

    return default_checkpoint()


def _control(name: str) -> Path:
    return _default().with_name(name)


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
    "raw-encoder-fitted": lambda: _checkpoint(_control("raw-encoder")),
    "encoder-only": lambda: _checkpoint(_control("encoder-only")),
    "lusifer-unprojected": lambda: _checkpoint(_default(), projected=False),
    "lusifer": lambda: _checkpoint(_default()),
    "bundle": lambda: _bundle(_default_bundle()),
}
"""The default model, its controls, and its bundle, which is the served form.

``raw-encoder-fitted`` is the raw encoder, centred and projected, without training.
"""


def named_source(source: str) -> tuple[str, str]:
    """Split ``NAME=SOURCE`` into the name of a column and the source; the name is optional."""
    name, equals, rest = source.partition("=")
    return (name, rest) if equals and "/" not in name else (source, source)


def checkpoint_folder(source: str) -> Path | None:
    """Return the checkpoint that a source names; None if it names no checkpoint."""
    known = {"lusifer": _default(), "encoder-only": _control("encoder-only")}
    folder = known.get(source, Path(source))
    return folder if (folder / "adapter.safetensors").is_file() else None


def open_source(source: str) -> EmbedFunction:
    """Open a model by its source.

    Args:
        source: One of:

            * a name in ``NAMED``
            * ``http://HOST:PORT`` of a running ``lusifer serve``
            * the folder of a checkpoint, a bundle or a sentence-transformers model
            * ``unprojected:FOLDER``, a checkpoint without its language projection
            * ``MODULE:FUNCTION``, a function of texts and role

    Raises:
        ConfigError: The source is none of these.
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
        f"{source!r} is not a model.",
        next_step=f"Name one of {', '.join(NAMED)}, a service's http:// address, MODULE:FUNCTION, "
        "or the folder of a checkpoint, a bundle or a sentence-transformers model.",
    )


def _default_bundle() -> Path:
    from lusifer.bundle.default import default_bundle

    return default_bundle()


class _Plugin:
    """Embed with a bundle or a service through the plugin.

    Args:
        identity: Identity of an :class:`EmbedFunction`.
        load: Opens the bundle or service at the first call: a cached evaluation never opens it.
    """

    def __init__(self, identity: str, load: Callable[[], Vectorizer | RemoteVectorizer]) -> None:
        self.identity = identity
        self._load = load

    @cached_property
    def _opened(self) -> Vectorizer | RemoteVectorizer:
        return self._load()

    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        embed = self._opened.embed_queries if role == "query" else self._opened.embed_documents
        vectors: Vectors = embed(list(texts)).vectors
        return vectors

    def close(self) -> None:
        """Close the session or the connection."""
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
    """Let glibc keep freed memory for the next batch.

    By default it returns blocks of many megabytes to the system each time. Allocating them again
    costs batches of long texts a fifth of their time. A process that only evaluates can keep its
    peak.
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
    def __init__(self, identity: str, function: Callable[[list[str], Role], ArrayLike]) -> None:
        self.identity = identity
        self._function = function

    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        vectors = np.asarray(self._function(list(texts), role), dtype=np.float32)
        unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return unit


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

    def embed(texts: list[str], role: Role) -> ArrayLike:
        # Both put the model's own prompts before the texts, if it has any.
        encode = model.encode_query if role == "query" else model.encode_document
        vectors: Vectors = encode(texts, show_progress_bar=False)
        return vectors

    return _Function(f"sentence-transformers:{digest.hexdigest()}", embed)
