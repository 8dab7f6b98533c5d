"""Makes ``models.Document(text, model="lusifer/...")`` work in ``qdrant-client`` by itself.

::

    import lusifer.qdrant.registry  # registers the model

    client.upsert("docs", [models.PointStruct(id=1, vector={"lusifer": models.Document(
        text="tar packs files", model="lusifer/lusifer-small")})])

The client looks models up in fastembed's registry by name and loads what it finds there.
Registration happens on import, so that the worker processes of ``upload_points(parallel=2)``, which
import the main module anew, know the model too. What a document's ``options`` say goes to the
constructor below: each distinct set of options is another loaded model.

* ``bundle``: folder of another bundle than the default one (``LUSIFER_BUNDLE`` for all documents);
* ``url``: of a running ``lusifer serve``, which then computes instead (``LUSIFER_URL`` for all
  documents, ``LUSIFER_API_KEY`` for its key);
* ``dimension``: one of the model's Matryoshka dimensions.

The model that ``LUSIFER_BUNDLE`` or ``LUSIFER_URL`` names is known by its own name,
``lusifer/NAME``. An ``AsyncQdrantClient`` embeds on the event loop, and stops it meanwhile: use
:mod:`lusifer.qdrant.search`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from typing import TYPE_CHECKING, Any

from lusifer.bundle.format import Bundle
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import LusiferError, MissingExtraError, UnknownModelError

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
    raise MissingExtraError(
        f"models.Document without a server needs fastembed: {error}.",
        next_step="Run pip install 'lusifer[qdrant]'.",
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
        model_name: As in a document; checked against the model that is loaded.
        cache_dir: Not used: bundles have a place of their own.
        threads: Of the engine.
        bundle: Folder of a bundle.
        url: Of a service that computes instead.
        dimension: Length of the vectors.
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
        **options: Any,
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
        # Another model may bear any name where it is named expressly. The client compares in lower
        # case.
        if found.lower() != model_name.lower() and not expressly:
            self._embedder.close()
            raise UnknownModelError(
                f"The model {model_name!r} was asked for, and {found!r} is what is there.",
                next_step=f"Write model={found!r}, or give options={{'bundle': FOLDER}}.",
            )

    def embed(
        self,
        documents: str | Iterable[str],
        batch_size: int = _WINDOW,
        parallel: int | None = None,
        **options: Any,
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors ``(D,)`` of documents, in their order; one engine uses all cores, so ``parallel`` is moot.

        Raises:
            LusiferError: A text can't be embedded, or the engine can't run.
        """
        return self._stream(documents, "document")

    def query_embed(
        self, query: str | Iterable[str], **options: Any
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors ``(D,)`` of questions; raises as :meth:`embed`."""
        return self._stream(query, "query")

    def token_count(self, texts: str | Iterable[str], **options: Any) -> int:
        """Tokens the model reads for these documents, prompts included."""
        given = [texts] if isinstance(texts, str) else list(texts)
        return sum(self._embedder.embed_documents(given).tokens)

    @property
    def embedding_size(self) -> int:
        """Length D of the vectors."""
        return self._embedder.dimension

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Length D of a listed model's vectors; of any other, that of the default model."""
        return _known().get(model_name.lower(), _DIMENSION)

    @classmethod
    def _list_supported_models(cls) -> list[DenseModelDescription]:
        return [
            DenseModelDescription(
                model=name,
                # fastembed wants one of the two; nothing is ever fetched from it.
                sources=ModelSource(url="none"),
                model_file="model.onnx",
                description="Text embeddings of about 100 languages, with prompts for query and document",
                license="apache-2.0",
                size_in_GB=0.25,
                dim=dimension,
            )
            for name, dimension in _known().items()
        ]

    def _stream(self, texts: str | Iterable[str], role: Role) -> Iterator[NDArray[np.float32]]:
        given = [texts] if isinstance(texts, str) else texts
        for result in self._embedder.stream(given, role, window=_WINDOW):
            # One vector for each text, or none at all: there is no place for an error in an answer.
            if isinstance(result, Exception):
                raise result
            yield result.vector


def _known() -> dict[str, int]:
    """Name to dimension: the default model, and the one that the environment names."""
    known = {MODEL: _DIMENSION}
    # What is wrong with it is told when a document asks for it, not when the client looks through
    # its list.
    with contextlib.suppress(LusiferError):
        if folder := os.environ.get("LUSIFER_BUNDLE"):
            manifest = Bundle.open(folder, verify=False).manifest
            known[f"lusifer/{manifest.name}".lower()] = manifest.dimension
        if url := os.environ.get("LUSIFER_URL"):
            name, dimension = _served(url)
            known[f"lusifer/{name}".lower()] = dimension
    return known


@functools.cache
def _served(url: str) -> tuple[str, int]:
    """Name and dimension of a service's model, asked for once; an error is not remembered."""
    key = os.environ.get("LUSIFER_API_KEY")
    with RemoteVectorizer(url, api_key=key, timeout_s=_META_TIMEOUT_S, attempts=1) as service:
        return service.model_name, service.dimension


if LusiferEmbedding not in TextEmbedding.EMBEDDINGS_REGISTRY:
    TextEmbedding.EMBEDDINGS_REGISTRY.append(LusiferEmbedding)
