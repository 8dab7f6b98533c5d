"""The store that a command's options name: an index folder, or a collection on a server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qdrant_client import QdrantClient
    from weaviate import WeaviateClient

    from lusifer.embedding.base import Embedder
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.stores.base import Store
    from lusifer.types import Ordering

__all__ = ["StoreOptions", "check_one_place", "connected"]


@dataclass(frozen=True)
class StoreOptions:
    """An index folder, or a collection on a server, as the command's options name it.

    Raises:
        InvalidInputError: The options contradict each other, or a server has no collection.
    """

    index_path: Path
    """Folder of the index, used if no server is named."""
    qdrant: str | None = None
    """URL of a Qdrant server."""
    weaviate: str | None = None
    """URL of a Weaviate server."""
    collection: str | None = None
    """Collection or alias, on the server or in the folder."""
    tenant: str | None = None
    """Tenant of the Weaviate collection."""
    grpc: bool = False
    """Whether to use gRPC to talk to Qdrant."""
    wait: bool = True
    """Whether Qdrant applies each write before the next."""
    ordering: Ordering = "weak"
    """Write ordering of a replicated Qdrant collection."""

    def __post_init__(self) -> None:
        if self.qdrant and self.weaviate:
            raise InvalidInputError(
                "Both --qdrant and --weaviate are given.", next_step="Give only one of them."
            )
        if (self.qdrant or self.weaviate) and not self.collection:
            raise InvalidInputError(
                "A server is named, but no collection on it.", next_step="Add --collection NAME."
            )
        if self.tenant and not self.weaviate:
            raise InvalidInputError(
                "--tenant is given without --weaviate.", next_step="Leave out --tenant."
            )

    @property
    def kind(self) -> Literal["embedded", "qdrant", "weaviate"]:
        """Kind of the store."""
        return "qdrant" if self.qdrant else "weaviate" if self.weaviate else "embedded"

    @property
    def address(self) -> str:
        """URL of the server, or full path of the folder."""
        return self.qdrant or self.weaviate or str(self.index_path.resolve())

    @property
    def name(self) -> str:
        """Name of the store in messages."""
        if server := self.qdrant or self.weaviate:
            return f"{self.collection} on {server}"
        return str(self.index_path / self.collection) if self.collection else str(self.index_path)

    @property
    def folder(self) -> Path | None:
        """Folder of the index, or None if the documents are on a server."""
        if self.qdrant or self.weaviate:
            return None
        from lusifer.embedded.collections import EmbeddedCollections

        return EmbeddedCollections(self.index_path).path(self.collection or "")

    def stored(self) -> tuple[str, int]:
        """Return fingerprint and dimension D of the stored vectors.

        This is cheap: neither the model nor the index is loaded, so that a wrong name is reported
        at once.

        Raises:
            IndexNotFoundError: There is no such index or collection.
            CollectionMismatchError: The collection was not made for LUSIFER.
            StoreError: The index or collection can't be read.
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
        """Open the store, which must exist and hold vectors of this model.

        Raises:
            IndexNotFoundError: There is no such index or collection.
            FingerprintMismatchError: The store holds vectors of another model.
            StoreError: The store can't be opened.
        """
        if folder := self.folder:
            from lusifer.embedded.store import EmbeddedStore

            return EmbeddedStore.open(folder, embedder.fingerprint)
        return self._open_remote(embedder)

    def open_or_create(self, embedder: Embedder, keywords: KeywordOptions | None) -> Store:
        """Open the store, or create an index in a folder that holds none.

        Raises:
            InvalidInputError: ``keywords`` is given for a collection on a server.
            StoreError: As :meth:`open`.
        """
        if folder := self.folder:
            from lusifer.embedded.store import EmbeddedStore

            return EmbeddedStore.open_or_create(folder, keywords=keywords, **_model_of(embedder))
        if keywords is not None:
            raise InvalidInputError(
                "A collection on a server gets its keywords when it is created.",
                next_step="Leave out --keywords here and give it to: lusifer qdrant setup",
            )
        return self._open_remote(embedder)

    def open_stored(self) -> Store:
        """Open the store whatever model filled it, to read or delete documents without a model.

        Raises:
            IndexNotFoundError: There is no such index or collection.
            StoreError: The store can't be opened.
        """
        if folder := self.folder:
            from lusifer.embedded.store import EmbeddedStore

            return EmbeddedStore.open(folder)
        name = self.collection or ""
        if self.weaviate:
            from lusifer.weaviate.connection import connect_by_environment as connect_to_weaviate
            from lusifer.weaviate.metadata import find_metadata as find_weaviate_metadata
            from lusifer.weaviate.store import WeaviateStore

            weaviate = connect_to_weaviate(self.weaviate)
            with _closed_on_error(weaviate):
                found, _ = find_weaviate_metadata(weaviate, name)
                return WeaviateStore.open(
                    weaviate,
                    name,
                    tenant=self.tenant,
                    fingerprint=found.fingerprint,
                    model=found.model,
                )
        from lusifer.qdrant.connection import connect_by_environment
        from lusifer.qdrant.metadata import find_metadata
        from lusifer.qdrant.store import QdrantStore

        qdrant = connect_by_environment(self.qdrant or "", grpc=self.grpc)
        with _closed_on_error(qdrant):
            metadata, _ = find_metadata(qdrant, name)
            return QdrantStore(qdrant, metadata, wait=self.wait, ordering=self.ordering)

    def _open_remote(self, embedder: Embedder) -> Store:
        name = self.collection or ""
        model = _model_of(embedder)
        if self.weaviate:
            from lusifer.weaviate.connection import connect_by_environment as connect_to_weaviate
            from lusifer.weaviate.store import WeaviateStore

            weaviate = connect_to_weaviate(self.weaviate)
            with _closed_on_error(weaviate):
                return WeaviateStore.open(weaviate, name, tenant=self.tenant, **model)
        from lusifer.qdrant.connection import connect_by_environment
        from lusifer.qdrant.store import QdrantStore

        qdrant = connect_by_environment(self.qdrant or "", grpc=self.grpc)
        with _closed_on_error(qdrant):
            return QdrantStore.open(qdrant, name, wait=self.wait, ordering=self.ordering, **model)


class _Model(TypedDict):
    fingerprint: str
    model: str
    dimension: int


def _model_of(embedder: Embedder) -> _Model:
    return {
        "fingerprint": embedder.fingerprint,
        "model": embedder.model_name,
        "dimension": embedder.dimension,
    }


@contextmanager
def _closed_on_error(client: QdrantClient | WeaviateClient) -> Iterator[None]:
    try:
        yield
    except BaseException:
        client.close()
        raise


def check_one_place(url: str | None, index_path: Path | None) -> None:
    """Refuse a command that names no place of its collection, or two.

    Raises:
        InvalidInputError: Neither or both of a server and a folder are named.
    """
    if (url is None) == (index_path is None):
        raise InvalidInputError(
            "Neither a server nor a folder is named."
            if url is None
            else "Both a server and a folder are named.",
            next_step="Name a server by its URL, or a folder with --index.",
        )


@contextmanager
def connected(
    url: str, *, grpc: bool = False, timeout_s: int | None = None
) -> Iterator[QdrantClient]:
    """Connect to a Qdrant server with the environment's API key; close the client afterwards."""
    from lusifer.qdrant.connection import TIMEOUT_S, connect_by_environment

    client = connect_by_environment(url, grpc=grpc, timeout_s=timeout_s or TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()
