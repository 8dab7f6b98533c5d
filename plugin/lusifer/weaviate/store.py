"""A Weaviate collection as a store: vectors are made here and sent along.

The text of a document is composed as Weaviate itself would, so that an object written later without
a vector, and embedded by the server, lies in the same space.
"""

from __future__ import annotations

import logging
import random
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.errors import (
    InvalidInputError,
    LusiferError,
    StoreError,
    StoreUnavailableError,
)
from lusifer.stores.payloads import (
    check_document,
    check_rows,
    content_sha256,
    document_uuid,
    payload_bytes,
    split_requests,
)
from lusifer.types import SearchOptions
from lusifer.weaviate.connection import refused, weaviate_errors
from lusifer.weaviate.metadata import open_metadata, rules_of
from lusifer.weaviate.repair import delete_unfindable
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY, add_own_properties
from lusifer.weaviate.search import find
from lusifer.weaviate.text_composition import compose_text, property_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Document, Hit
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["WeaviateStore", "object_id"]

logger = logging.getLogger(__name__)

_OBJECTS_PER_REQUEST = 200
_BYTES_PER_REQUEST = 16 * 1024**2
_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
_RESERVED = frozenset({"id", "vector", ID_PROPERTY, HASH_PROPERTY, MARK_PROPERTY})
_FIRST_DELAY_S = 0.25
"""Before a write or a question is tried again; doubled each time that nothing was gained."""
_EXACT = 2**53
"""Whole numbers up to here are exact as float64."""


def object_id(document_id: str) -> str:
    """The UUID of a document's object: the id itself where it is one."""
    try:
        return str(uuid.UUID(document_id))
    except ValueError:
        return document_uuid(document_id)


class WeaviateStore:
    """An open collection; made by :meth:`open`.

    What a returned ``upsert`` wrote was read back: Weaviate's lists of errors can name the wrong
    object.
    """

    def __init__(
        self,
        client: Any,
        handle: Any,
        card: CollectionMetadata,
        config: Any,
        *,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self.client = client
        self.card = card
        self.config = config
        self.retry_for_s = retry_for_s
        self._handle = handle
        self._rules = rules_of(card, config)
        self._references = [each.name for each in config.references]
        self._other_vectors = [name for name in config.vector_config if name != card.vector_name]
        self._marks = [each.name for each in config.properties if each.name == MARK_PROPERTY]
        self._closed = False
        self._prepared = False

    @classmethod
    def open(
        cls,
        client: Any,
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
            collection: Its name, or an alias: the store then stays with the collection it means
                now.
            fingerprint: The model about to be used with it.
            model: That model's name for people.
            dimension: Length D of the vectors it is going to make; None skips the comparison.
            tenant: Of a collection with tenants; made where it is not there yet.
            retry_for_s: How long a busy or absent server is waited for.

        Raises:
            IndexNotFoundError: There is no such collection.
            CollectionMismatchError: It was not made for LUSIFER.
            FingerprintMismatchError: It holds vectors of another model.
            InvalidDimensionError: It holds vectors of another dimension.
            InvalidInputError: It has tenants and none is named, or the other way round.
            StoreError: The tenant is not active.
            StoreUnavailableError: The server does not answer.
        """
        card, config = open_metadata(
            client, collection, fingerprint=fingerprint, model=model, dimension=dimension
        )
        handle = client.collections.get(config.name)
        if config.multi_tenancy_config.enabled != (tenant is not None):
            raise InvalidInputError(
                f"The collection {collection} {'has tenants' if tenant is None else 'has no tenants'}.",
                next_step="Name one with --tenant." if tenant is None else "Leave out --tenant.",
            )
        if tenant is not None:
            from weaviate.classes.tenants import Tenant

            with weaviate_errors(collection):
                known = handle.tenants.get_by_name(tenant)
                if known is None:
                    handle.tenants.create([Tenant(name=tenant)])
            if known is not None and known.activity_status.value != "ACTIVE":
                raise refused(f"tenant not active: '{tenant}'", collection)
            handle = handle.with_tenant(tenant)
        return cls(client, handle, card, config, retry_for_s=retry_for_s)

    @property
    def collection(self) -> str:
        """The collection's own name."""
        return str(self.config.name)

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors lie here."""
        return self.card.fingerprint

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        return self.card.dimension

    def count(self) -> int:
        """Number of objects, exactly."""
        return int(self._ask(lambda: self._handle.aggregate.over_all(total_count=True)).total_count)

    def count_without_vector(self) -> int:
        """Number of objects that no search of ours can find; reads the whole collection."""
        self._check_open()
        without = 0
        with weaviate_errors(self.collection):
            for each in self._handle.iterator(
                include_vector=[self.card.vector_name], return_properties=[]
            ):
                without += not each.vector.get(self.card.vector_name)
        return without

    def text_of(self, document: Document) -> str:
        """The text that Weaviate would embed for this document's object; empty: it would make no vector."""
        return compose_text(self._properties(document), self._rules)

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Ids whose stored text and metadata equal the given ones and that have a vector."""
        self._prepare()
        by_object = {object_id(document.id): document for document in documents}
        stored = self._stored(list(by_object))
        return {
            document.id
            for key, document in by_object.items()
            if stored.get(key) == content_sha256(document)
        }

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``; of two with the same id the last one stays.

        References and other named vectors of objects that are replaced are carried over.

        Raises:
            InvalidInputError: Counts differ, or a document can't be stored; nothing was written.
            InvalidDimensionError: The vectors have another dimension; nothing was written.
            CollectionMismatchError: The index takes other vectors.
            StoreError: The server refused or went away; the same call again completes it.
        """
        self._check_open()
        check_rows(len(documents), vectors, self.dimension, f"the collection {self.collection}")
        last = {object_id(document.id): index for index, document in enumerate(documents)}
        properties = {}
        for index in last.values():
            check_document(documents[index])
            properties[index] = {
                **self._properties(documents[index]),
                ID_PROPERTY: documents[index].id,
                HASH_PROPERTY: content_sha256(documents[index]),
            }
        self._prepare()
        order = list(last.items())
        sizes = [payload_bytes(properties[index]) + 4 * self.dimension for _, index in order]
        for part in split_requests(
            sizes, points=_OBJECTS_PER_REQUEST, size_bytes=_BYTES_PER_REQUEST
        ):
            wanted = {order[i][0]: order[i][1] for i in part}
            self._write(
                {key: (properties[index], vectors[index]) for key, index in wanted.items()},
                {key: properties[index][HASH_PROPERTY] for key, index in wanted.items()},
            )

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """The ``limit`` nearest documents to a vector ``(D,)``, best first; see :class:`SearchOptions`.

        Raises:
            InvalidInputError: The vector, the limit or an option can't be used.
            StoreError: The server refused or does not answer.
        """
        self._check_open()
        return find(self._handle, self.config, self.card, vector, limit, options or SearchOptions())

    def flush(self) -> None:
        """Nothing to do: the server's log has every acknowledged write."""

    def optimize(self) -> None:
        """Nothing to do: the server builds its index by itself."""

    def close(self) -> None:
        """Close the client; calling it twice is fine."""
        self._closed = True
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _properties(self, document: Document) -> dict[str, Any]:
        """Text and metadata as properties; null is what Weaviate calls absent."""
        properties: dict[str, Any] = {self.card.text_property: document.text}
        for given, value in document.metadata.items():
            if value is None:
                continue
            name = property_name(given)
            if name in _RESERVED or not _NAME.fullmatch(name) or name in properties:
                raise InvalidInputError(
                    f"Document {document.id!r}: the field {given!r} can't be a property of "
                    f"{self.collection}{', it is there already' if name in properties else ''}.",
                    next_step="Use letters, digits and _, the first letter counting as a small one, and none "
                    f"of {', '.join(sorted(_RESERVED | {self.card.text_property}))}.",
                )
            properties[name] = _storable(document, given, value)
        return properties

    def _prepare(self) -> None:
        if not self._prepared:
            self._ask(
                lambda: add_own_properties(
                    self.client.collections.get(self.collection), self.config
                )
            )
            self._prepared = True

    def _write(
        self, objects: dict[str, tuple[dict[str, Any], NDArray[np.float32]]], hashes: dict[str, str]
    ) -> None:
        """Write until a reading finds everything there, for as long as patience lasts."""
        from weaviate.classes.data import DataObject

        end_s = time.monotonic() + self.retry_for_s
        delay_s = _FIRST_DELAY_S
        missing = dict(objects)
        kept: dict[str, dict[str, Any]] = {}
        while True:
            failure: LusiferError | None = None
            try:
                # What was read before a crash may not be found after it.
                kept |= self._kept(list(missing))
                batch = []
                for key, (properties, vector) in missing.items():
                    with_it = kept.get(key, {"properties": {}, "vector": {}, "references": None})
                    vectors = {**with_it["vector"], self.card.vector_name: vector.tolist()}
                    batch.append(
                        DataObject(
                            properties={**with_it["properties"], **properties},
                            uuid=key,
                            vector=vectors,
                            references=with_it["references"],
                        )
                    )
                with weaviate_errors(self.collection):
                    answer = self._handle.data.insert_many(batch)
                if answer.errors:
                    failure = refused(next(iter(answer.errors.values())).message, self.collection)
                found = self._stored(list(missing))
                left = {key: each for key, each in missing.items() if found.get(key) != hashes[key]}
                if not left:
                    return
                lost = [key for key in left if key not in found]
                if len(left) < len(missing) or (
                    failure is None and delete_unfindable(self._handle, lost, self._ask)
                ):
                    delay_s = _FIRST_DELAY_S
                missing = left
            except LusiferError as error:
                failure = error
            failure = failure or StoreUnavailableError(
                f"{len(missing)} of {len(objects)} objects are not there after they were written.",
                next_step="Look into Weaviate's log, then run again.",
            )
            # What the server will refuse for ever is told at once; nothing of it is retried.
            if not failure.retryable or time.monotonic() + delay_s > end_s:
                raise failure
            logger.warning("%s Trying again in %.1f s.", failure.message, delay_s)
            time.sleep(delay_s * random.uniform(1.0, 1.25))  # noqa: S311
            delay_s = min(2 * delay_s, 15.0)

    def _kept(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Other vectors, their mark, and references of objects to be replaced, which an import drops."""
        if not self._references and not self._other_vectors:
            return {}
        from weaviate.classes.query import QueryReference

        with weaviate_errors(self.collection):
            answer = self._handle.query.fetch_objects_by_ids(
                keys,
                limit=len(keys),
                include_vector=self._other_vectors,
                return_properties=self._marks,
                return_references=[
                    QueryReference(link_on=name, return_properties=[]) for name in self._references
                ]
                or None,
            )
        kept = {}
        for each in answer.objects:
            others = {
                name: value for name, value in each.vector.items() if name != self.card.vector_name
            }
            links = {
                name: [linked.uuid for linked in reference.objects]
                for name, reference in (each.references or {}).items()
            }
            marks = {name: value for name, value in each.properties.items() if value is not None}
            kept[str(each.uuid)] = {
                "properties": marks,
                "vector": others,
                "references": links or None,
            }
        return kept

    def _stored(self, keys: list[str]) -> dict[str, str]:
        """Content hash of the objects that are there with a vector."""
        name = self.card.vector_name
        stored: dict[str, str] = {}
        for start in range(0, len(keys), _OBJECTS_PER_REQUEST):
            part = keys[start : start + _OBJECTS_PER_REQUEST]
            answer = self._ask(
                lambda part=part: self._handle.query.fetch_objects_by_ids(
                    part, limit=len(part), include_vector=[name], return_properties=[HASH_PROPERTY]
                )
            )
            for each in answer.objects:
                if each.vector.get(name):
                    stored[str(each.uuid)] = str(each.properties.get(HASH_PROPERTY))
        return stored

    def _ask(self, call: Any) -> Any:
        self._check_open()

        def attempt() -> Any:
            with weaviate_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(
                f"The collection {self.collection} is closed.", next_step="Open it again."
            )


def _storable(document: Document, path: str, value: Any) -> Any:
    """The value as the client takes it.

    Raises:
        InvalidInputError: Weaviate would change it silently, or has no type for it.
    """
    said = ""
    if isinstance(value, dict) and value:
        return {
            name: _storable(document, f"{path}.{name}", item)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        kinds = {"number" if type(item) in {int, float} else type(item).__name__ for item in value}
        if len(kinds) <= 1 and not kinds & {"list", "tuple", "NoneType"}:
            items = [_storable(document, path, item) for item in value]
            # The client takes the type of the first for that of all.
            return list(map(float, items)) if any(type(item) is float for item in items) else items
        said = f"is a list of {' and '.join(sorted(kinds))}"
    elif isinstance(value, dict):
        said = "is an empty object"
    elif type(value) is int and not -_EXACT <= value <= _EXACT:
        said = f"is {value}, and numbers travel to Weaviate as float64, which rounds it"
    if said:
        raise InvalidInputError(
            f"Document {document.id!r}: the field {path!r} {said}.",
            next_step="Leave it out, or write it as a text or a list of one kind.",
        )
    return value
