"""A Weaviate collection as a store: vectors are made here and sent along.

The text of a document is composed as Weaviate itself would. So an object that is written later
without a vector, and embedded by the server, lies in the same space.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from lusifer.common.iteration import chunked
from lusifer.common.retry import FIRST_DELAY_S, RETRY_FOR_S, call_with_retry
from lusifer.errors import InvalidInputError, LusiferError, StoreUnavailableError
from lusifer.stores.base import ServerStore
from lusifer.stores.payloads import check_document, check_rows, content_sha256, payload_bytes
from lusifer.types import SearchOptions
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import CollectionMetadata, open_metadata, rules_of
from lusifer.weaviate.objects import iterate_objects, object_id, properties_of
from lusifer.weaviate.property_types import add_properties
from lusifer.weaviate.queries import find
from lusifer.weaviate.refusals import refused
from lusifer.weaviate.repair import delete_unindexed
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY, add_own_properties
from lusifer.weaviate.text_composition import compose_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray
    from weaviate import WeaviateClient
    from weaviate.classes.data import DataObject
    from weaviate.collections import Collection
    from weaviate.collections.classes.internal import ReferenceInputs
    from weaviate.collections.classes.types import WeaviateField, WeaviateProperties
    from weaviate.outputs.config import CollectionConfig

    from lusifer.types import JSON, Document, Hit

    _Row = tuple[Mapping[str, JSON], NDArray[np.float32]]
    """Properties and vector ``(D,)`` of an object to write."""

__all__ = ["WeaviateStore"]

logger = logging.getLogger(__name__)

_OBJECTS_PER_REQUEST = 200
_BYTES_PER_REQUEST = 16 * 1024**2


class _Kept(NamedTuple):
    """References, vectors and mark kept when an object is replaced."""

    properties: Mapping[str, WeaviateField] = {}
    """Mark of a vector that was added in place."""
    vectors: Mapping[str, Sequence[float] | Sequence[Sequence[float]]] = {}
    """Other named vectors."""
    references: ReferenceInputs | None = None


class WeaviateStore(ServerStore["WeaviateClient", CollectionMetadata]):
    """An open collection; made by :meth:`open`.

    ``upsert`` reads back what it wrote before it returns, because Weaviate's lists of errors can
    name the wrong object.
    """

    def __init__(
        self,
        client: WeaviateClient,
        handle: Collection,
        metadata: CollectionMetadata,
        config: CollectionConfig,
        *,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        super().__init__(client, metadata, retry_for_s=retry_for_s)
        self.config = config
        self._handle = handle
        self._rules = rules_of(metadata, config)
        self._references = [each.name for each in config.references]
        self._other_vectors = [
            name for name in config.vector_config or {} if name != metadata.vector_name
        ]
        self._marks = [each.name for each in config.properties if each.name == MARK_PROPERTY]
        self._prepared = False
        self._known = {each.name for each in config.properties}

    @classmethod
    def open(
        cls,
        client: WeaviateClient,
        collection: str,
        *,
        fingerprint: str,
        model: str,
        dimension: int | None = None,
        tenant: str | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> WeaviateStore:
        """Open a collection made with ``lusifer weaviate setup``.

        Args:
            client: A connected ``WeaviateClient``; closed with the store.
            collection: The collection's name, or an alias. The store stays with the collection that
                the alias points to now.
            fingerprint: Identity of the model about to be used with it.
            model: That model's name for people.
            dimension: Length D of the model's vectors; None skips the comparison.
            tenant: Name of the tenant, for a collection with tenants; created where it is missing.
            retry_for_s: Seconds for which a busy or absent server is retried. A write that got
                further starts them again; see :meth:`upsert`.

        Raises:
            IndexNotFoundError: There is no such collection.
            CollectionMismatchError: The collection was not made for LUSIFER.
            FingerprintMismatchError: The collection holds vectors of another model.
            InvalidDimensionError: The collection holds vectors of another dimension.
            InvalidInputError: The collection has tenants and none is named, or one is named and it
                has none.
            StoreError: The tenant is not active.
            StoreUnavailableError: The server does not answer.
        """
        metadata, config = open_metadata(
            client, collection, fingerprint=fingerprint, model=model, dimension=dimension
        )
        handle = client.collections.get(config.name)
        if config.multi_tenancy_config.enabled != (tenant is not None):
            raise InvalidInputError(
                f"The collection {collection} "
                f"{'has tenants' if tenant is None else 'has no tenants'}.",
                next_step="Name one with --tenant." if tenant is None else "Leave out --tenant.",
            )
        if tenant is not None:
            from weaviate.classes.tenants import Tenant

            with client_errors(collection):
                known = handle.tenants.get_by_name(tenant)
                if known is None:
                    handle.tenants.create([Tenant(name=tenant)])
            if known is not None and known.activity_status.value != "ACTIVE":
                raise refused(f"tenant not active: '{tenant}'", collection)
            handle = handle.with_tenant(tenant)
        return cls(client, handle, metadata, config, retry_for_s=retry_for_s)

    def count(self) -> int:
        """Return the exact number of objects."""
        answer = self._ask(lambda: self._handle.aggregate.over_all(total_count=True))
        return int(answer.total_count or 0)

    def count_without_vector(self) -> int:
        """Return the number of objects without a vector; no search finds them.

        It reads the whole collection.
        """
        self._check_open()
        without = 0
        with client_errors(self.collection):
            for each in iterate_objects(self._handle, self.metadata.vector_name, properties=False):
                without += not each.vector.get(self.metadata.vector_name)
        return without

    def text_of(self, document: Document) -> str:
        """Compose the text that Weaviate would embed for a document's object.

        It is empty where Weaviate would make no vector.
        """
        return compose_text(properties_of(document, self.metadata), self._rules)

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Return the ids of documents that are stored as given and that have a vector."""
        self._prepare()
        by_object = {object_id(document.id): document for document in documents}
        stored = self._stored(list(by_object))
        return {
            document.id
            for key, document in by_object.items()
            if stored.get(key) == content_sha256(document)
        }

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``.

        Of two documents with the same id the last one stays. References and other named vectors of
        objects that are replaced stay. Each request is repeated until a reading finds all of its
        objects. It is given up after ``retry_for_s`` in which no further object was written.

        Raises:
            InvalidInputError: Counts differ, or a document can't be stored; nothing was written.
            InvalidDimensionError: The vectors have another dimension; nothing was written.
            CollectionMismatchError: The index takes vectors of another dimension.
            StoreError: The server refused or went away; the same call again completes it.
        """
        self._check_open()
        check_rows(len(documents), vectors, self.dimension, f"the collection {self.collection}")
        last = {object_id(document.id): index for index, document in enumerate(documents)}
        rows: dict[str, _Row] = {}
        for key, index in last.items():
            check_document(documents[index])
            properties = {
                **properties_of(documents[index], self.metadata),
                ID_PROPERTY: documents[index].id,
                HASH_PROPERTY: content_sha256(documents[index]),
            }
            rows[key] = (properties, vectors[index])
        self._prepare()
        base = self.client.collections.get(self.collection)
        add_properties(base, self._known, [each for each, _ in rows.values()], self._ask)
        for request in chunked(
            rows.items(),
            _OBJECTS_PER_REQUEST,
            size=lambda row: payload_bytes(row[1][0]) + 4 * self.dimension,
            maximum_size=_BYTES_PER_REQUEST,
        ):
            self._write(dict(request))

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, without those that another program wrote."""
        self._prepare()
        with client_errors(self.collection):
            for each in self._handle.iterator(return_properties=[ID_PROPERTY, HASH_PROPERTY]):
                if each.properties.get(ID_PROPERTY) and each.properties.get(HASH_PROPERTY):
                    yield str(each.properties[ID_PROPERTY])

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their ids; return how many of them existed.

        Raises:
            StoreError: The server refused or went away; the same call again completes it.
        """
        from weaviate.classes.query import Filter

        deleted = 0
        for part in chunked(dict.fromkeys(map(object_id, ids)), _OBJECTS_PER_REQUEST):
            wanted = Filter.by_id().contains_any(part)
            answer = self._ask(partial(self._handle.data.delete_many, where=wanted))
            if answer.failed:
                raise StoreUnavailableError(
                    f"{answer.failed} of {answer.matches} objects were not deleted.",
                    next_step="Look into Weaviate's log, then run again.",
                )
            deleted += answer.successful
        return deleted

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """Return the ``limit`` nearest documents to a vector ``(D,)``, best first.

        Raises:
            InvalidInputError: The vector, the limit or an option can't be used.
            StoreError: The server refused or does not answer.
        """
        self._check_open()
        return find(
            self._handle, self.config, self.metadata, vector, limit, options or SearchOptions()
        )

    def _errors(self) -> AbstractContextManager[None]:
        return client_errors(self.collection)

    def _prepare(self) -> None:
        """Add our own properties to the schema, once."""
        if not self._prepared:
            base = self.client.collections.get(self.collection)
            self._ask(lambda: add_own_properties(base, self.config))
            self._prepared = True

    def _write(self, rows: Mapping[str, _Row]) -> None:
        """Write objects until a reading finds all of them with their content.

        The time for retries starts again whenever an object more is there.
        """
        missing = dict(rows)
        kept: dict[str, _Kept] = {}
        while missing:
            missing = call_with_retry(
                partial(self._write_missing, missing, kept), retry_for_s=self.retry_for_s
            )
            if missing:
                time.sleep(FIRST_DELAY_S)

    def _write_missing(self, missing: dict[str, _Row], kept: dict[str, _Kept]) -> dict[str, _Row]:
        """Write objects in one request, read them back, and return those that are not there.

        Args:
            missing: Rows to write, by UUID.
            kept: What stays of each object. It is added to, because what was read before a crash of
                the server may not be found after it.

        Raises:
            LusiferError: The server refuses an object for good, or none was written.
        """
        kept |= self._kept(list(missing))
        with client_errors(self.collection):
            answer = self._handle.data.insert_many(
                [self._object(key, row, kept.get(key, _Kept())) for key, row in missing.items()]
            )
        failure: LusiferError | None = None
        for first in answer.errors.values():
            failure = refused(first.message, self.collection)
            break
        found = self._stored(list(missing))
        left = {key: row for key, row in missing.items() if found.get(key) != row[0][HASH_PROPERTY]}
        if not left:
            return left
        progress = len(left) < len(missing)
        if failure is None:
            if not progress:
                unfound = [key for key in left if key not in found]
                delete_unindexed(self._handle, unfound, self._ask)
            failure = StoreUnavailableError(
                f"{len(left)} of {len(missing)} objects are not there after they were written.",
                next_step="Look into Weaviate's log, then run again.",
            )
        if not progress or not failure.retryable:
            raise failure
        logger.warning("%s Writing the other %d objects again.", failure.message, len(left))
        return left

    def _object(
        self, key: str, row: _Row, kept: _Kept
    ) -> DataObject[WeaviateProperties, ReferenceInputs | None]:
        """Return an object as the client takes it, with what stays of the one it replaces."""
        from weaviate.classes.data import DataObject

        properties, vector = row
        return DataObject(
            properties={**kept.properties, **cast("Mapping[str, WeaviateField]", properties)},
            uuid=key,
            vector={**kept.vectors, self.metadata.vector_name: vector.tolist()},
            references=kept.references,
        )

    def _kept(self, keys: list[str]) -> dict[str, _Kept]:
        """Read what an import would drop: other vectors, their mark, and references."""
        if not self._references and not self._other_vectors:
            return {}
        from weaviate.classes.query import QueryReference

        links = [QueryReference(link_on=name, return_properties=[]) for name in self._references]
        with client_errors(self.collection):
            answer = self._handle.query.fetch_objects_by_ids(
                keys,
                limit=len(keys),
                include_vector=self._other_vectors,
                return_properties=self._marks,
                return_references=links or None,
            )
        return {
            str(each.uuid): _Kept(
                properties={
                    name: value for name, value in each.properties.items() if value is not None
                },
                vectors={
                    name: value
                    for name, value in each.vector.items()
                    if name != self.metadata.vector_name
                },
                references={
                    name: [linked.uuid for linked in reference.objects]
                    for name, reference in (each.references or {}).items()
                }
                or None,
            )
            for each in answer.objects
        }

    def _stored(self, keys: list[str]) -> dict[str, str]:
        """Return the content hash of the objects that filters find and that have a vector."""
        name = self.metadata.vector_name
        stored: dict[str, str] = {}
        for part in chunked(keys, _OBJECTS_PER_REQUEST):
            answer = self._ask(
                partial(
                    self._handle.query.fetch_objects_by_ids,
                    part,
                    limit=len(part),
                    include_vector=[name],
                    return_properties=[HASH_PROPERTY],
                )
            )
            for each in answer.objects:
                if each.vector.get(name):
                    stored[str(each.uuid)] = str(each.properties.get(HASH_PROPERTY))
        return stored
