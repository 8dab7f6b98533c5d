"""Collections whose vectors LUSIFER makes: their vector, properties and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from lusifer.errors import InvalidInputError, StoreError
from lusifer.stores.diagnostics import missing_features
from lusifer.stores.payloads import VECTOR_NAME
from lusifer.weaviate.connection import client_errors, import_client
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weaviate import WeaviateClient
    from weaviate.classes.config import Property
    from weaviate.collections import Collection
    from weaviate.collections.classes.config_base import _QuantizerConfigCreate
    from weaviate.collections.classes.config_vectors import _VectorConfigCreate
    from weaviate.outputs.config import CollectionConfig

    from lusifer.types import Route, WeaviateQuantizer, WeaviateTokenization
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = [
    "HASH_PROPERTY",
    "ID_PROPERTY",
    "MARK_PROPERTY",
    "add_own_properties",
    "create_collection",
    "vectors",
    "version_warnings",
]

ID_PROPERTY = "document_id"
HASH_PROPERTY = "document_sha256"
MARK_PROPERTY = "lusifer_mark"
"""Property with the content from which a vector that was added in place was made; see
:mod:`lusifer.reindex.endpoints.weaviate.named_vector`."""

_SERVER_WARNINGS = (
    (
        (1, 31, 0),
        "has no task_type to distinguish queries from documents: both get the document's prompt",
    ),
    ((1, 32, 0), "has no aliases: a change of the model needs a pause"),
    ((1, 36, 0), "has no server-side batching: batch.stream() does not work"),
    (
        (1, 38, 8),
        "does not resend a request whose pooled connection broke: single objects may fail with EOF",
    ),
)


class _VectorOptions(TypedDict):
    """Arguments common to the vectors of both modules."""

    name: str
    source_properties: list[str]
    dimensions: int | None
    quantizer: _QuantizerConfigCreate
    vectorize_collection_name: bool


def vectors(
    service_url: str,
    *,
    source_properties: Sequence[str],
    route: Route = "transformers",
    name: str = VECTOR_NAME,
    model: str | None = None,
    dimensions: int | None = None,
    quantizer: WeaviateQuantizer = "none",
) -> _VectorConfigCreate:
    """Return a collection's vector for ``client.collections.create(vector_config=...)``.

    Args:
        service_url: Address where the Weaviate server reaches ``lusifer serve``.
        source_properties: Properties to embed. They are required: without them Weaviate embeds
            every text property.
        route: Module that embeds. ``transformers`` sends one text a request and needs no key;
            ``cohere`` sends 96 and needs any key (``COHERE_APIKEY`` on the server).
        name: Name of the vector.
        model: The model's name at the service, for ``cohere``.
        dimensions: One of the model's Matryoshka dimensions; None is the full one.
        quantizer: How vectors are kept in memory.

    Raises:
        InvalidInputError: No source properties, or an unknown route or quantizer.
        MissingExtraError: ``weaviate-client`` is not installed.
    """
    import_client()
    from weaviate.classes.config import Configure

    if not source_properties:
        raise InvalidInputError(
            "No source properties: Weaviate would embed every text property.",
            next_step="Name the properties to embed.",
        )
    url = service_url.rstrip("/")
    common: _VectorOptions = {
        "name": name,
        # As the schema has them: a capital would silently embed nothing.
        "source_properties": [property_name(each) for each in source_properties],
        "dimensions": dimensions,
        "quantizer": _quantizer(quantizer),
        # Otherwise an English collection name stands before every document.
        "vectorize_collection_name": False,
    }
    if route == "transformers":
        return Configure.Vectors.text2vec_transformers(inference_url=url, **common)
    if route == "cohere":
        # With a path, because the client adds a slash to a bare host. It validates the text as an
        # AnyHttpUrl.
        return Configure.Vectors.text2vec_cohere(
            base_url=f"{url}/cohere",  # type: ignore[arg-type]
            model=model,
            truncate="END",
            **common,
        )
    raise InvalidInputError(f"The route is {route!r}.", next_step="Use transformers or cohere.")


def create_collection(
    client: WeaviateClient,
    metadata: CollectionMetadata,
    *,
    service_url: str,
    route: Route = "transformers",
    source_properties: Sequence[str] | None = None,
    properties: Sequence[Property] = (),
    filter_fields: Sequence[str] = ("lang",),
    quantizer: WeaviateQuantizer = "none",
    tokenization: WeaviateTokenization = "word",
    tenants: bool = False,
    description: str = "",
    dimensions: int | None = None,
    alias: str | None = None,
) -> None:
    """Create a collection for the documents of one model.

    Args:
        client: A connected ``WeaviateClient``.
        metadata: Name and model of the collection, from
            :func:`lusifer.weaviate.metadata.metadata_for`. Weaviate writes the name with a capital.
        service_url: Address where the Weaviate server reaches ``lusifer serve``.
        route: Module that embeds; see :func:`vectors`.
        source_properties: Properties to embed; by default the text property alone. Those that are
            not among ``properties`` are created as texts.
        properties: Further properties, as ``weaviate.classes.config.Property``.
        filter_fields: Text properties that are compared whole, such as the language.
        quantizer: How vectors are kept in memory; see :func:`vectors`.
        tokenization: Tokenization of the text property, for the keyword half of hybrid searches:
            ``word`` for languages with spaces, ``gse`` for Chinese and Japanese, ``kagome_ja``,
            ``kagome_kr``, ``trigram`` for a mixture.
            :func:`lusifer.weaviate.tokenization.advise_tokenization` chooses.
        tenants: Keep each tenant's objects apart.
        description: Description for people.
        dimensions: Dimension to ask the service for; None is the model's full one.
        alias: Name that applications use.

    Raises:
        StoreError: The collection or the alias exists already; nothing was created.
        CollectionMismatchError: The server lacks the module or the tokenizer.
        InvalidInputError: The server refuses the schema.
        StoreUnavailableError: The server does not answer.
    """
    import_client()
    from weaviate.classes.config import Configure, DataType, Property, Tokenization

    collection = metadata.collection
    sources = [property_name(each) for each in source_properties or [metadata.text_property]]
    given = {property_name(each.name) for each in properties}
    texts = [metadata.text_property, *(each for each in sources if each not in filter_fields)]
    own = [
        *(
            Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization(tokenization))
            for name in dict.fromkeys(texts)
        ),
        *map(_field_property, (*filter_fields, ID_PROPERTY)),
        _hash_property(),
    ]
    with client_errors(collection):
        for taken in filter(None, (collection, alias)):
            if client.collections.exists(taken):
                raise StoreError(
                    f"The collection or alias {taken} exists already.",
                    next_step="Choose another name, or check it with: lusifer doctor weaviate URL "
                    f"--collection {taken}",
                )
        client.collections.create(
            collection,
            description=metadata.in_description(description),
            properties=[*properties, *(each for each in own if each.name not in given)],
            vector_config=[
                vectors(
                    service_url,
                    source_properties=sources,
                    route=route,
                    name=metadata.vector_name,
                    model=metadata.model,
                    dimensions=dimensions,
                    quantizer=quantizer,
                )
            ],
            inverted_index_config=Configure.inverted_index(
                index_timestamps=True, index_null_state=True
            ),
            multi_tenancy_config=Configure.multi_tenancy(enabled=True) if tenants else None,
        )
        if alias is not None:
            try:
                client.alias.create(alias_name=alias, target_collection=collection)
            except Exception:
                # Leave nothing behind, so that the same command works once the reason is gone.
                client.collections.delete(collection)
                raise


def add_own_properties(handle: Collection, config: CollectionConfig) -> None:
    """Add the properties that ``lusifer index`` needs beside the collection's own."""
    known = {each.name for each in config.properties}
    if ID_PROPERTY not in known:
        handle.config.add_property(_field_property(ID_PROPERTY))
    if HASH_PROPERTY not in known:
        handle.config.add_property(_hash_property())


def version_warnings(version: str) -> list[str]:
    """Return a warning for each feature that a server of this version lacks."""
    return [
        f"Weaviate {version} (before {since}) {what}."
        for since, what in missing_features(version, _SERVER_WARNINGS)
    ]


def _field_property(name: str) -> Property:
    """Return a text property that is compared whole."""
    from weaviate.classes.config import DataType, Property, Tokenization

    return Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD)


def _hash_property() -> Property:
    """Return the property of a document's content hash, which no search uses."""
    from weaviate.classes.config import DataType, Property, Tokenization

    return Property(
        name=HASH_PROPERTY,
        data_type=DataType.TEXT,
        tokenization=Tokenization.FIELD,
        index_searchable=False,
        index_filterable=False,
    )


def _quantizer(kind: WeaviateQuantizer) -> _QuantizerConfigCreate:
    from weaviate.classes.config import Configure

    quantizers = Configure.VectorIndex.Quantizer
    makers: dict[str, Callable[[], _QuantizerConfigCreate]] = {
        "none": quantizers.none,
        "rq": quantizers.rq,
        "sq": quantizers.sq,
        "bq": quantizers.bq,
        "pq": quantizers.pq,
    }
    if kind not in makers:
        raise InvalidInputError(
            f"The quantizer is {kind!r}.", next_step="Use none, rq, sq, bq or pq."
        )
    return makers[kind]()
