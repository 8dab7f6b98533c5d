"""Where documents lie and what embeds, for the commands that index and search."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lusifer.cli.common import load_vectorizer, read_manifest
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.embedding.base import Embedder
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.stores.base import Store
    from lusifer.types import LongTextPolicy, Ordering

__all__ = [
    "CollectionOption",
    "GrpcOption",
    "QdrantOption",
    "ServiceOption",
    "StoreOptions",
    "TenantOption",
    "WeaviateOption",
    "connected",
    "open_embedder",
]

QdrantOption = Annotated[
    str | None,
    typer.Option(
        "--qdrant",
        metavar="URL",
        help="A Qdrant server, such as http://localhost:6333 (key: QDRANT_API_KEY).",
    ),
]
WeaviateOption = Annotated[
    str | None,
    typer.Option(
        "--weaviate",
        metavar="URL",
        help="A Weaviate server, such as http://localhost:8080 (key: WEAVIATE_API_KEY).",
    ),
]
CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection", metavar="NAME", help="Collection or alias, of a server or within --index."
    ),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Tenant of a Weaviate collection.")
]
GrpcOption = Annotated[bool, typer.Option("--grpc", help="Talk gRPC to Qdrant (port 6334).")]
ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="URL",
        help="A running lusifer serve that embeds instead of this process (key: LUSIFER_API_KEY).",
    ),
]


@dataclass(frozen=True)
class StoreOptions:
    """A collection on a server, or an index folder of our own."""

    index_path: Path
    qdrant: str | None = None
    weaviate: str | None = None
    collection: str | None = None
    tenant: str | None = None
    grpc: bool = False
    wait: bool = True
    ordering: Ordering = "weak"

    def __post_init__(self) -> None:
        if self.qdrant and self.weaviate:
            raise InvalidInputError(
                "Both --qdrant and --weaviate are given.", next_step="Name one of them."
            )
        if (self.qdrant or self.weaviate) and not self.collection:
            raise InvalidInputError(
                "A server is named, and no collection of it.", next_step="Add --collection NAME."
            )
        if self.tenant and not self.weaviate:
            raise InvalidInputError("A tenant without Weaviate.", next_step="Leave out --tenant.")

    @property
    def kind(self) -> Literal["embedded", "qdrant", "weaviate"]:
        """Which database."""
        return "qdrant" if self.qdrant else "weaviate" if self.weaviate else "embedded"

    @property
    def address(self) -> str:
        """Of the server, or the folder's full path."""
        return self.qdrant or self.weaviate or str(self.index_path.resolve())

    @property
    def name(self) -> str:
        """For people."""
        if server := self.qdrant or self.weaviate:
            return f"{self.collection} on {server}"
        return str(self.index_path / self.collection) if self.collection else str(self.index_path)

    @property
    def folder(self) -> Path | None:
        """The index folder, or None where the documents lie on a server."""
        if self.qdrant or self.weaviate:
            return None
        if self.collection is None:
            return self.index_path
        from lusifer.embedded.collections import EmbeddedCollections

        return EmbeddedCollections(self.index_path).path(self.collection)

    def stored(self) -> tuple[str, int]:
        """Fingerprint and dimension D of the vectors that lie there.

        Cheap: neither the model nor the index is loaded, so that a wrong name is told at once.

        Raises:
            IndexNotFoundError: There is no such index or collection.
            CollectionMismatchError: The collection was not made for LUSIFER.
            StoreError: It can't be read.
        """
        if folder := self.folder:
            from lusifer.embedded.layout import read_index

            index = read_index(folder)
            return index.fingerprint, index.dimension
        if self.weaviate:
            from lusifer.weaviate.connection import connect_by_environment
            from lusifer.weaviate.metadata import find_metadata as find_weaviate_metadata

            with connect_by_environment(self.weaviate) as weaviate:
                found, _ = find_weaviate_metadata(weaviate, self.collection or "")
            return found.fingerprint, found.dimension
        from lusifer.qdrant.metadata import find_metadata

        with connected(self.qdrant or "", grpc=self.grpc) as client:
            metadata, _ = find_metadata(client, self.collection or "")
        return metadata.fingerprint, metadata.dimension

    def open(self, embedder: Embedder) -> Store:
        """The store, which must be there and of this model.

        Raises:
            IndexNotFoundError: There is none.
            FingerprintMismatchError: It holds vectors of another model.
            StoreError: It can't be opened.
        """
        if folder := self.folder:
            from lusifer.embedded.store import EmbeddedStore

            return EmbeddedStore.open(folder, embedder.fingerprint)
        return self._open_remote(embedder)

    def open_or_create(self, embedder: Embedder, keywords: KeywordOptions | None) -> Store:
        """As :meth:`open`, but a folder that holds no index yet becomes one."""
        if folder := self.folder:
            from lusifer.embedded.store import EmbeddedStore

            return EmbeddedStore.open_or_create(
                folder,
                fingerprint=embedder.fingerprint,
                dimension=embedder.dimension,
                model=embedder.model_name,
                keywords=keywords,
            )
        if keywords is not None:
            raise InvalidInputError(
                "Whether a collection on a server has keywords is decided when it is made.",
                next_step="Leave out --keywords here and give it to: lusifer qdrant setup",
            )
        return self._open_remote(embedder)

    def _open_remote(self, embedder: Embedder) -> Store:
        model = {
            "fingerprint": embedder.fingerprint,
            "model": embedder.model_name,
            "dimension": embedder.dimension,
        }
        client: Any
        if self.weaviate:
            from lusifer.weaviate.connection import connect_by_environment as connect_to_weaviate
            from lusifer.weaviate.store import WeaviateStore

            client = connect_to_weaviate(self.weaviate)
            open_store: Any = partial(WeaviateStore.open, tenant=self.tenant)
        else:
            from lusifer.qdrant.connection import connect_by_environment
            from lusifer.qdrant.store import QdrantStore

            client = connect_by_environment(self.qdrant or "", grpc=self.grpc)
            open_store = partial(QdrantStore.open, wait=self.wait, ordering=self.ordering)
        try:
            store: Store = open_store(client, self.collection or "", **model)
        except BaseException:
            client.close()
            raise
        return store


@contextmanager
def connected(url: str, *, grpc: bool = False, timeout_s: int | None = None) -> Iterator[Any]:
    """A client of a Qdrant server, with the key that the environment holds; closed afterwards."""
    from lusifer.qdrant.connection import TIMEOUT_S, connect_by_environment

    client = connect_by_environment(url, grpc=grpc, timeout_s=timeout_s or TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def open_embedder(
    bundle: Path | None,
    service: str | None,
    *,
    dimension: int | None = None,
    stored: tuple[str, int] | None = None,
    long_text: LongTextPolicy = "truncate",
) -> Iterator[Embedder]:
    """A bundle in this process, or a running service.

    Args:
        bundle: Its folder; by default the default one.
        service: URL of the service that embeds instead.
        dimension: Length of the vectors.
        stored: Of :meth:`StoreOptions.stored`. Where no dimension is given, vectors get the length
            of those that the same model has made before; of another model nothing is taken over, so
            that opening the store can refuse it.
        long_text: What happens to a text over the token limit.

    Raises:
        InvalidInputError: Both are named.
        LusiferError: It can't be used.
    """
    if service is None:
        if (
            dimension is None
            and stored is not None
            and stored[0] == read_manifest(bundle).fingerprint
        ):
            dimension = stored[1]
        with load_vectorizer(bundle, dimension=dimension, long_text=long_text) as vectorizer:
            yield vectorizer
        return
    if bundle is not None:
        raise InvalidInputError(
            "Both --bundle and --service are given.", next_step="Name one of them."
        )
    from lusifer.embedding.remote import RemoteVectorizer

    key = os.environ.get("LUSIFER_API_KEY")
    with RemoteVectorizer(service, api_key=key, dimension=dimension) as remote:
        if dimension is None and stored is not None and stored[0] == remote.fingerprint:
            remote.use_dimension(stored[1])
        yield remote
