"""Collections whose vectors LUSIFER makes, and the card in their description that says which model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    InvalidDimensionError,
    InvalidInputError,
    StoreError,
)
from lusifer.weaviate.compose import TextRules, property_name
from lusifer.weaviate.connection import import_weaviate, not_found, weaviate_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.choices import Route, WeaviateQuantizer, WeaviateTokenization
    from lusifer.embedder import Embedder

__all__ = [
    "HASH_PROPERTY",
    "ID_PROPERTY",
    "MARK_PROPERTY",
    "CollectionCard",
    "card_of",
    "create_collection",
    "data_types",
    "find_card",
    "in_words",
    "module_of",
    "open_card",
    "read_card",
    "rules_of",
    "vectors",
    "version_warnings",
]

VECTOR_NAME = "lusifer"
ID_PROPERTY = "document_id"
HASH_PROPERTY = "document_sha256"
MARK_PROPERTY = "lusifer_mark"
"""What a vector that was added in place was made from; see :mod:`lusifer.reindex.weaviate_in_place`."""
_MARK = "lusifer: "

_SERVER_WARNINGS = (
    ((1, 31, 0), "does not tell questions from documents (task_type): both get the document's prompt"),
    ((1, 32, 0), "has no aliases: a change of the model needs a pause"),
    ((1, 36, 0), "has no server-side batching: batch.stream() does not work"),
    ((1, 38, 8), "does not resend a request whose pooled connection broke: single objects may fail with EOF"),
)


class CollectionCard(BaseModel):
    """One line of JSON at the end of a collection's description, after ``lusifer:``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    fingerprint: Annotated[str, Field(min_length=1)]
    model: str
    dimension: Annotated[int, Field(gt=0)]
    vector_name: str = VECTOR_NAME
    text_property: str = "text"
    """Where ``lusifer index`` puts the text of a document."""
    lower_case: bool = False
    """Whether the server runs with ``LOWERCASE_VECTORIZATION_INPUT``."""

    def check(self, collection: str, *, fingerprint: str, model: str, dimension: int | None = None) -> None:
        """Refuse a model other than the one that filled the collection, or another length of its vectors.

        Args:
            collection: Its name, for the errors.
            fingerprint: The model about to be used.
            model: Its name for people.
            dimension: Length D of the vectors it is going to make; None skips the comparison.

        Raises:
            FingerprintMismatchError: It is another model.
            InvalidDimensionError: It is another dimension.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"The collection {collection} holds vectors of {self.model} ({self.fingerprint}), the "
                f"model in use is {model} ({fingerprint}).",
                next_step="Use the model it was made with, or index into a new collection and switch the "
                "alias.",
            )
        if dimension is not None and dimension != self.dimension:
            raise InvalidDimensionError(
                f"The collection {collection} has vectors of {self.dimension} numbers, not {dimension}.",
                next_step=f"Use the dimension {self.dimension}.",
            )

    def in_description(self, text: str = "") -> str:
        """A description that ends with this card."""
        return f"{text}\n{_MARK}{self.model_dump_json()}".strip()


def in_words(description: str | None) -> str:
    """A description without its card."""
    lines = (description or "").split("\n")
    return "\n".join(line for line in lines if not line.startswith(_MARK)).strip()


def card_of(
    embedder: Embedder,
    *,
    text_property: str = "text",
    vector_name: str = VECTOR_NAME,
    lower_case: bool = False,
) -> CollectionCard:
    """The card for a collection that ``embedder`` is going to fill."""
    return CollectionCard(
        fingerprint=embedder.fingerprint,
        model=embedder.model_name,
        dimension=embedder.dimension,
        text_property=property_name(text_property),
        vector_name=vector_name,
        lower_case=lower_case,
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
        route: The module: ``transformers`` asks with one text at a time and needs no key; ``cohere`` asks
            with 96 and needs any key (``COHERE_APIKEY`` on the server).
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
        return Configure.Vectors.text2vec_transformers(inference_url=service_url.rstrip("/"), **common)
    if route == "cohere":
        # With a path, because the client puts a slash behind a bare host.
        base_url: Any = f"{service_url.rstrip('/')}/cohere"
        return Configure.Vectors.text2vec_cohere(base_url=base_url, model=model, truncate="END", **common)
    raise InvalidInputError(f"The route is {route!r}.", next_step="Use transformers or cohere.")


def create_collection(
    client: Any,
    collection: str,
    card: CollectionCard,
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
        card: From :func:`card_of`.
        service_url: Where the Weaviate server reaches ``lusifer serve``.
        route: See :func:`vectors`.
        source_properties: Properties to embed; by default the card's text property alone. Those that are
            not among ``properties`` are made as texts.
        properties: More properties, as ``weaviate.classes.config.Property``.
        filter_fields: Text properties that are compared whole, such as the language.
        quantizer: See :func:`vectors`.
        tokenization: Of the text property, for the keyword half of hybrid searches: ``word`` for languages
            with spaces, ``gse`` Chinese and Japanese, ``kagome_ja``, ``kagome_kr``, ``trigram`` for a
            mixture; :func:`lusifer.weaviate.keywords.advise_tokenization` chooses.
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
            inverted_index_config=Configure.inverted_index(index_timestamps=True, index_null_state=True),
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


def read_card(collection: str, config: Any) -> CollectionCard:
    """The card of a collection, checked against its real schema.

    Args:
        collection: Its name, for the errors.
        config: From the client's ``config.get()``.

    Raises:
        CollectionMismatchError: It was not made for LUSIFER, or its schema contradicts the card.
    """
    advice = "Make one with: lusifer weaviate setup"
    found = re.search(rf"^{re.escape(_MARK)}(.*)$", config.description or "", re.MULTILINE)
    if not found:
        names = ", ".join(config.vector_config or {}) or "no named vector"
        raise CollectionMismatchError(
            f"The description of the collection {collection} says nothing of LUSIFER; it has {names}.",
            next_step=advice,
        )
    try:
        card = CollectionCard.model_validate_json(found[1])
    except ValidationError as error:
        raise CollectionMismatchError(
            f"The description of the collection {collection} can't be read: {' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection anew with: lusifer weaviate setup",
        ) from error
    vector = (config.vector_config or {}).get(card.vector_name)
    if vector is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {card.vector_name!r}.", next_step=advice
        )
    if not vector.vectorizer.source_properties and module_of(config, card.vector_name) != "none":
        raise CollectionMismatchError(
            f"The vector {card.vector_name!r} of the collection {collection} names no source properties, so "
            "every text property is embedded, our bookkeeping too.",
            next_step=advice,
        )
    distance = str(getattr(vector.vector_index_config, "distance_metric", "cosine"))
    if "cosine" not in distance.lower():
        raise CollectionMismatchError(
            f"The collection {collection} compares by {distance}, not by cosine.", next_step=advice
        )
    return card


def find_card(client: Any, collection: str) -> tuple[CollectionCard, Any]:
    """Card and configuration of a collection or alias.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: It was not made for LUSIFER.
        StoreUnavailableError: The server does not answer.
    """
    with weaviate_errors(collection):
        handle = client.collections.get(collection)
        if not handle.exists():
            raise not_found(collection)
        config = handle.config.get()
    return read_card(collection, config), config


def open_card(
    client: Any, collection: str, *, fingerprint: str, model: str, dimension: int | None = None
) -> tuple[CollectionCard, Any]:
    """As :func:`find_card`, checked against the model about to be used.

    Raises:
        FingerprintMismatchError: It holds vectors of another model.
        InvalidDimensionError: It holds vectors of another dimension D.
        StoreError: As :func:`find_card`.
    """
    card, config = find_card(client, collection)
    card.check(collection, fingerprint=fingerprint, model=model, dimension=dimension)
    return card, config


def rules_of(card: CollectionCard, config: Any) -> TextRules:
    """How the server composes the text of this vector."""
    vectorizer = config.vector_config[card.vector_name].vectorizer
    sources = tuple(vectorizer.source_properties or (card.text_property,))
    settings = vectorizer.model or {}
    module = module_of(config, card.vector_name)
    skipped, named = set(), set()
    for each in config.properties:
        own = (each.vectorizer_configs or {}).get(module)
        if own is not None and own.skip:
            skipped.add(each.name)
        if own is not None and own.vectorize_property_name:
            named.add(each.name)
    return TextRules(
        collection=config.name,
        source_properties=sources,
        vectorize_collection_name=bool(settings.get("vectorizeClassName", False)),
        skipped=frozenset(skipped),
        named=frozenset(named),
        data_types=data_types(config),
        lower_case=card.lower_case,
    )


def data_types(config: Any) -> dict[str, str]:
    """Property to data type, as the schema writes it; ``author.born`` for one within an object."""
    found: dict[str, str] = {}
    unseen = [("", each) for each in config.properties]
    while unseen:
        prefix, each = unseen.pop()
        found[prefix + each.name] = str(getattr(each.data_type, "value", each.data_type))
        inner = getattr(each, "nested_properties", None) or ()
        unseen += [(f"{prefix}{each.name}.", one) for one in inner]
    return found


def module_of(config: Any, vector_name: str) -> str:
    """The module that embeds for a vector, ``none`` where vectors are sent along only."""
    vectorizer = config.vector_config[vector_name].vectorizer.vectorizer
    return str(getattr(vectorizer, "value", vectorizer))


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
        raise InvalidInputError(f"The quantizer is {kind!r}.", next_step="Use none, rq, sq, bq or pq.")
    return getattr(quantizers, kind)()
