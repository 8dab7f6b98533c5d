"""Registers LUSIFER with ``qdrant-client``, so that ``models.Document`` takes its models.

::

    import lusifer.qdrant.registry  # registers the model

    client.upsert("docs", [models.PointStruct(id=1, vector={"lusifer": models.Document(
        text="tar packs files", model="lusifer/lusifer-small")})])

The client looks models up in fastembed's registry by name and loads what it finds there.
Registration happens on import, so that the worker processes of ``upload_points(parallel=2)``, which
import the main module again, know the model too. A document's ``options`` go to the constructor
below; each distinct set of options is another loaded model.

* ``bundle``: folder of another bundle than the default one (``LUSIFER_BUNDLE`` for all documents);
* ``url``: address of a running ``lusifer serve``, which then computes instead (``LUSIFER_URL`` for
  all documents, ``LUSIFER_API_KEY`` for its key);
* ``dimension``: one of the model's Matryoshka dimensions.

The model that ``LUSIFER_BUNDLE`` or ``LUSIFER_URL`` names is known by its own name,
``lusifer/NAME``. With its fingerprint, such as ``lusifer/lusifer-small@8e3625e6``, the name means
one model alone, so that no collection gets vectors of another; the default model is known so once
it is built. An ``AsyncQdrantClient`` embeds on the event loop and stops it meanwhile; use
:mod:`lusifer.qdrant.search` instead.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.bundle.format import MANIFEST_NAME, Bundle
from lusifer.bundle.names import exact_name, split_name
from lusifer.common.paths import cache_directory
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import LusiferError, UnknownModelError
from lusifer.stores.server_errors import missing_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.embedding.base import Embedder
    from lusifer.types import Role

try:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import DenseModelDescription, ModelSource
    from fastembed.text.text_embedding_base import TextEmbeddingBase
except ImportError as error:
    raise missing_package(
        "models.Document without a server", "fastembed", error, extra="qdrant"
    ) from error

__all__ = ["MODEL", "LusiferEmbedding"]

MODEL = "lusifer/lusifer-small"
"""Name of the default model."""

_DIMENSION = 384
_WINDOW = 256
_META_TIMEOUT_S = 5


class LusiferEmbedding(TextEmbeddingBase):
    """A LUSIFER model for fastembed's registry; query and document keep their own prompts.

    Args:
        model_name: Name as in a document; checked against the model that is loaded.
        cache_dir: Not used: bundles have a folder of their own.
        threads: Threads of the engine.
        bundle: Folder of a bundle.
        url: Address of a service that computes instead.
        dimension: Length D of the vectors.
        options: What fastembed gives every model (devices, providers); not used.

    Raises:
        UnknownModelError: The bundle or service has a model of another name.
        BundleError: The bundle can't be used.
        EngineUnavailableError: The service does not answer.
    """

    def __init__(
        self,
        model_name: str = MODEL,
        cache_dir: str | None = None,
        threads: int | None = None,
        *,
        bundle: str | None = None,
        url: str | None = None,
        dimension: int | None = None,
        **options: object,
    ) -> None:
        super().__init__(model_name, cache_dir, threads, **options)
        expressly = bool(bundle or url)
        url = url or (None if bundle else os.environ.get("LUSIFER_URL"))
        self._embedder: Embedder
        if url:
            key = os.environ.get("LUSIFER_API_KEY")
            self._embedder = RemoteVectorizer(url, api_key=key, dimension=dimension)
        else:
            self._embedder = Vectorizer.load(bundle, threads=threads, dimension=dimension)
        # The client drops its models without closing them.
        weakref.finalize(self, self._embedder.close)
        found = f"lusifer/{self._embedder.model_name}"
        asked, fingerprint = split_name(model_name.lower())
        other = not self._embedder.fingerprint.startswith(fingerprint)
        # A model that is named by folder or address may have any name. The client compares in
        # lower case.
        if other or (found.lower() != asked and not expressly):
            exact = exact_name(self._embedder.model_name, self._embedder.fingerprint)
            self._embedder.close()
            shown = exact if other else found
            raise UnknownModelError(
                f"The model {model_name!r} was asked for, and the model found is {shown!r}.",
                next_step=f"Write model={shown!r}, or give options={{'bundle': FOLDER}}.",
            )

    def embed(
        self,
        documents: str | Iterable[str],
        batch_size: int = _WINDOW,
        parallel: int | None = None,
        **options: object,
    ) -> Iterator[NDArray[np.float32]]:
        """Return the vectors ``(D,)`` of documents, in order.

        One engine uses all cores, so ``parallel`` has no effect.

        Raises:
            LusiferError: A text can't be embedded, or the engine can't run.
        """
        return self._stream(documents, "document")

    def query_embed(
        self, query: str | Iterable[str], **options: object
    ) -> Iterator[NDArray[np.float32]]:
        """Return the vectors ``(D,)`` of queries; raises as :meth:`embed`."""
        return self._stream(query, "query")

    def token_count(self, texts: str | Iterable[str], **options: object) -> int:
        """Return how many tokens the model reads for these documents, prompts included."""
        given = [texts] if isinstance(texts, str) else list(texts)
        return sum(self._embedder.embed_documents(given).tokens)

    @property
    def embedding_size(self) -> int:
        """Length D of the vectors."""
        return self._embedder.dimension

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Return the dimension D of a listed model; for any other, that of the default model."""
        return _known().get(model_name.lower(), _DIMENSION)

    @classmethod
    def _list_supported_models(cls) -> list[DenseModelDescription]:
        return [
            DenseModelDescription(
                model=name,
                # fastembed wants one of the two; nothing is ever fetched from it.
                sources=ModelSource(url="none"),
                model_file="model.onnx",
                description="Text embeddings of about 100 languages, with prompts for query and "
                "document",
                license="apache-2.0",
                size_in_GB=0.25,
                dim=dimension,
            )
            for name, dimension in _known().items()
        ]

    def _stream(self, texts: str | Iterable[str], role: Role) -> Iterator[NDArray[np.float32]]:
        given = [texts] if isinstance(texts, str) else texts
        for result in self._embedder.stream(given, role, window=_WINDOW):
            # The client expects one vector for each text; an answer has no place for an error.
            if isinstance(result, Exception):
                raise result
            yield result.vector


def _known() -> dict[str, int]:
    """Return name to dimension, of the default model and of the one in the environment."""
    known = {MODEL: _DIMENSION}

    def add(name: str, fingerprint: str, dimension: int) -> None:
        known[f"lusifer/{name}".lower()] = dimension
        known[exact_name(name, fingerprint).lower()] = dimension

    # A fault is reported when a document asks for the model, not when the client reads its list.
    with contextlib.suppress(LusiferError):
        if url := os.environ.get("LUSIFER_URL"):
            add(*_served(url))
    folder = os.environ.get("LUSIFER_BUNDLE")
    for path in [Path(folder).expanduser()] if folder else _built_bundles():
        with contextlib.suppress(LusiferError):
            manifest = Bundle.open(path, verify=False).manifest
            add(manifest.name, manifest.fingerprint, manifest.dimension)
    return known


def _built_bundles() -> list[Path]:
    """Return the bundles that may be the default one; finding out which would build it."""
    return sorted(
        path.parent for path in (cache_directory() / "bundles").glob(f"*/{MANIFEST_NAME}")
    )


@functools.cache
def _served(url: str) -> tuple[str, str, int]:
    """Return name, fingerprint and dimension of a service's model, asked for once.

    Errors are not cached.
    """
    key = os.environ.get("LUSIFER_API_KEY")
    with RemoteVectorizer(url, api_key=key, timeout_s=_META_TIMEOUT_S, attempts=1) as service:
        return service.model_name, service.fingerprint, service.dimension


if LusiferEmbedding not in TextEmbedding.EMBEDDINGS_REGISTRY:
    TextEmbedding.EMBEDDINGS_REGISTRY.append(LusiferEmbedding)
