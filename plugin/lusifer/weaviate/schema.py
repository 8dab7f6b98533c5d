"""Collections whose vectors LUSIFER makes: their vector, properties and settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lusifer.errors import InvalidInputError, StoreError
from lusifer.stores.payloads import VECTOR_NAME
from lusifer.weaviate.connection import import_weaviate, weaviate_errors
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.types import Route, WeaviateQuantizer, WeaviateTokenization
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = [
    "HASH_PROPERTY",
    "ID_PROPERTY",
    "MARK_PROPERTY",
    "create_collection",
    "vectors",
    "version_warnings",
]

ID_PROPERTY = "document_id"
HASH_PROPERTY = "document_sha256"
MARK_PROPERTY = "lusifer_mark"
"""What a vector that was added in place was made from; see
:mod:`lusifer.reindex.endpoints.weaviate.named_vector`."""

_SERVER_WARNINGS = (
    (
        (1, 31, 0),
        "does not tell questions from documents (task_type): both get the document's prompt",
    ),
    ((1, 32, 0), "has no aliases: a change of the model needs a pause"),
    ((1, 36, 0), "has no server-side batching: batch.stream() does not work"),
    (
        (1, 38, 8),
        "does not resend a request whose pooled connection broke: single objects may fail with EOF",
    ),
)


def vectors(
    service_url: str,
    *,
    source_properties: Sequence[str],
    route: Route = "transformers",
    name: str = VECTOR_NAME,
    model: str | None = None,
    dimensions: int | None = None,
    quantizer: WeaviateQuantizer = "none",
) -> Any:
    """The vector of a collection, for ``client.collections.create(vector_config=...)``.

    Args:
        service_url: Where the Weaviate server reaches ``lusifer serve``.
        source_properties: Properties that are embedded; always named, or Weaviate takes all texts.
        route: The module: ``transformers`` asks with one text at a time and needs no key;
            ``cohere`` asks with 96 and needs any key (``COHERE_APIKEY`` on the server).
        name: Of the vector.
        model: The model's name at the service, for ``cohere``.
        dimensions: One of the model's Matryoshka dimensions; by default the full one.
        quantizer: How vectors are kept in memory.

    Raises:
        InvalidInputError: No source properties, or an unknown route or quantizer.
        MissingExtraError: ``weaviate-client`` is not installed.
    """
    import_weaviate()
    from weaviate.classes.config import Configure

    if not source_properties:
        raise InvalidInputError(
            "No source properties: Weaviate would embed every text property.",
            next_step="Name the properties to embed.",
        )
    common: dict[str, Any] = {
        "name": name,
        # Otherwise an English collection name stands before every document.
        "vectorize_collection_name": False,
        # As the schema has them; a capital would silently embed nothing.
        "source_properties": [property_name(each) for each in source_properties],
        "quantizer": _quantizer(Configure.VectorIndex.Quantizer, quantizer),
        "dimensions": dimensions,
    }
    if route == "transformers":
        return Configure.Vectors.text2vec_transformers(
            inference_url=service_url.rstrip("/"), **common
        )
    if route == "cohere":
        # With a path, because the client puts a slash behind a bare host.
        base_url: Any = f"{service_url.rstrip('/')}/cohere"
        return Configure.Vectors.text2vec_cohere(
            base_url=base_url, model=model, truncate="END", **common
        )
    raise InvalidInputError(f"The route is {route!r}.", next_step="Use transformers or cohere.")


def create_collection(
    client: Any,
    collection: str,
    card: CollectionMetadata,
    *,
    service_url: str,
    route: Route = "transformers",
    source_properties: Sequence[str] | None = None,
    properties: Sequence[Any] = (),
    filter_fields: Sequence[str] = ("lang",),
    quantizer: WeaviateQuantizer = "none",
    tokenization: WeaviateTokenization = "word",
    tenants: bool = False,
    description: str = "",
    dimensions: int | None = None,
    alias: str | None = None,
) -> None:
    """Make a collection for the documents of one model.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its name, which Weaviate begins with a capital.
        card: From :func:`lusifer.weaviate.metadata.metadata_for`.
        service_url: Where the Weaviate server reaches ``lusifer serve``.
        route: See :func:`vectors`.
        source_properties: Properties to embed; by default the card's text property alone. Those
            that are not among ``properties`` are made as texts.
        properties: More properties, as ``weaviate.classes.config.Property``.
        filter_fields: Text properties that are compared whole, such as the language.
        quantizer: See :func:`vectors`.
        tokenization: Of the text property, for the keyword half of hybrid searches: ``word`` for
            languages with spaces, ``gse`` Chinese and Japanese, ``kagome_ja``, ``kagome_kr``,
            ``trigram`` for a mixture; :func:`lusifer.weaviate.tokenization.advise_tokenization`
            chooses.
        tenants: Keep each tenant's objects apart.
        description: For people.
        dimensions: Where not the full dimension.
        alias: Name that applications use.

    Raises:
        StoreError: The collection or the alias exists already; nothing was made.
        CollectionMismatchError: The server lacks the module or the tokenizer.
        InvalidInputError: The server refuses the schema.
        StoreUnavailableError: The server does not answer.
    """
    import_weaviate()
    from weaviate.classes.config import Configure, DataType, Property, Tokenization

    sources = [property_name(each) for each in source_properties or [card.text_property]]
    given = {property_name(each.name) for each in properties}
    texts = [card.text_property, *(each for each in sources if each not in filter_fields)]
    own = [
        *(
            Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization(tokenization))
            for name in dict.fromkeys(texts)
        ),
        *(
            Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD)
            for name in (*filter_fields, ID_PROPERTY)
        ),
        _hash_property(),
    ]
    with weaviate_errors(collection):
        for taken in filter(None, (collection, alias)):
            if client.collections.exists(taken):
                raise StoreError(
                    f"The collection or alias {taken} exists already.",
                    next_step="Choose another name, or look at it with: lusifer doctor weaviate URL "
                    f"--collection {taken}",
                )
        client.collections.create(
            collection,
            description=card.in_description(description),
            properties=[*properties, *(each for each in own if each.name not in given)],
            vector_config=[
                vectors(
                    service_url,
                    source_properties=sources,
                    route=route,
                    name=card.vector_name,
                    model=card.model,
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
                # Nothing half made: the same command must work once the reason is gone.
                client.collections.delete(collection)
                raise


def add_own_properties(handle: Any, config: Any) -> None:
    """Add what ``lusifer index`` needs beside the collection's own properties."""
    from weaviate.classes.config import DataType, Property, Tokenization

    known = {each.name for each in config.properties}
    if ID_PROPERTY not in known:
        handle.config.add_property(
            Property(name=ID_PROPERTY, data_type=DataType.TEXT, tokenization=Tokenization.FIELD)
        )
    if HASH_PROPERTY not in known:
        handle.config.add_property(_hash_property())


def version_warnings(version: str) -> list[str]:
    """What a server of this version lacks."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return [
        f"Weaviate {version} (before {'.'.join(map(str, since))}) {what}."
        for since, what in _SERVER_WARNINGS
        if numbers < since
    ]


def _hash_property() -> Any:
    from weaviate.classes.config import DataType, Property, Tokenization

    return Property(
        name=HASH_PROPERTY,
        data_type=DataType.TEXT,
        tokenization=Tokenization.FIELD,
        index_searchable=False,
        index_filterable=False,
    )


def _quantizer(quantizers: Any, kind: WeaviateQuantizer) -> Any:
    if kind == "none":
        return quantizers.none()
    if kind not in {"rq", "sq", "bq", "pq"}:
        raise InvalidInputError(
            f"The quantizer is {kind!r}.", next_step="Use none, rq, sq, bq or pq."
        )
    return getattr(quantizers, kind)()
