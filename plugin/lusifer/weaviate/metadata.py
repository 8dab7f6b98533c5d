"""What a collection says of itself: the card in its description that names the model, and its schema.

The card is one line of JSON, so that whoever opens the collection, from wherever, can refuse
another model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import CollectionMismatchError, FingerprintMismatchError, InvalidDimensionError
from lusifer.stores.payloads import VECTOR_NAME
from lusifer.weaviate.connection import not_found, weaviate_errors
from lusifer.weaviate.text_composition import TextRules, property_name

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder

__all__ = [
    "CollectionMetadata",
    "data_types",
    "find_metadata",
    "metadata_for",
    "module_of",
    "open_metadata",
    "parse_metadata",
    "rules_of",
    "without_metadata",
]


_MARK = "lusifer: "


class CollectionMetadata(BaseModel):
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

    def check(
        self, collection: str, *, fingerprint: str, model: str, dimension: int | None = None
    ) -> None:
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


def without_metadata(description: str | None) -> str:
    """A description without its card."""
    lines = (description or "").split("\n")
    return "\n".join(line for line in lines if not line.startswith(_MARK)).strip()


def metadata_for(
    embedder: Embedder,
    *,
    text_property: str = "text",
    vector_name: str = VECTOR_NAME,
    lower_case: bool = False,
) -> CollectionMetadata:
    """The card for a collection that ``embedder`` is going to fill."""
    return CollectionMetadata(
        fingerprint=embedder.fingerprint,
        model=embedder.model_name,
        dimension=embedder.dimension,
        text_property=property_name(text_property),
        vector_name=vector_name,
        lower_case=lower_case,
    )


def parse_metadata(collection: str, config: Any) -> CollectionMetadata:
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
        card = CollectionMetadata.model_validate_json(found[1])
    except ValidationError as error:
        raise CollectionMismatchError(
            f"The description of the collection {collection} can't be read: {' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection anew with: lusifer weaviate setup",
        ) from error
    vector = (config.vector_config or {}).get(card.vector_name)
    if vector is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {card.vector_name!r}.",
            next_step=advice,
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


def find_metadata(client: Any, collection: str) -> tuple[CollectionMetadata, Any]:
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
    return parse_metadata(collection, config), config


def open_metadata(
    client: Any, collection: str, *, fingerprint: str, model: str, dimension: int | None = None
) -> tuple[CollectionMetadata, Any]:
    """As :func:`find_metadata`, checked against the model about to be used.

    Raises:
        FingerprintMismatchError: It holds vectors of another model.
        InvalidDimensionError: It holds vectors of another dimension D.
        StoreError: As :func:`find_metadata`.
    """
    card, config = find_metadata(client, collection)
    card.check(collection, fingerprint=fingerprint, model=model, dimension=dimension)
    return card, config


def rules_of(card: CollectionMetadata, config: Any) -> TextRules:
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
