"""From a plan to the two sides it names."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lusifer.errors import InvalidInputError
from lusifer.reindex.endpoints.base import Migration

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.plan import Model, Place, Plan

__all__ = ["file_source", "open_migration", "open_model"]


def open_migration(plan: Plan, *, exclusive: bool = False, hold_writes: bool = False) -> Migration:
    """Open both sides of a plan; nothing is made or changed.

    Args:
        plan: What was planned.
        exclusive: Keep the new side of the embedded store open between windows: applications can't
            open it, which before the switch they don't.
        hold_writes: Have Weaviate refuse writes to the old side from the last pass to the switch.

    Raises:
        InvalidInputError: The database can't hold writes back.
        StoreError: A side can't be opened.
        MissingExtraError: The database's package is not installed.
    """
    if hold_writes and plan.in_place:
        raise InvalidInputError(
            "In place nothing can be missed at the switch.", next_step="Leave out --hold-writes."
        )
    if plan.target.kind == "embedded":
        return _embedded(plan, exclusive)
    if plan.target.kind == "qdrant":
        if hold_writes:
            raise InvalidInputError(
                "Qdrant can't be told to refuse writes to one collection.",
                next_step="Have the applications pause deletions during the switch, or re-embed in place, "
                "where nothing can be missed.",
            )
        return _qdrant(plan)
    return _weaviate(plan, hold_writes=hold_writes)


def open_model(model: Model) -> Embedder:
    """The model of a plan, in this process or behind a service; the caller closes it.

    Raises:
        LusiferError: It can't be loaded or reached.
    """
    if model.service is not None:
        from lusifer.embedding.remote import RemoteVectorizer

        key = os.environ.get("LUSIFER_API_KEY")
        return RemoteVectorizer(model.service, api_key=key, dimension=model.dimension)
    from lusifer.embedding.vectorizer import Vectorizer

    return Vectorizer.load(model.bundle, dimension=model.dimension, long_text=model.long_text)


def file_source(place: Place) -> Any:
    """The file of a plan whose documents come from one.

    Raises:
        InvalidInputError: It is not there, or of no kind that can be read.
    """
    from lusifer.ingest.sources.source import DocumentSource

    return DocumentSource(place.address, text_field=place.text_field, id_field=place.id_field)


def _embedded(plan: Plan, exclusive: bool) -> Migration:
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.embedded.layout import read_index
    from lusifer.reindex.endpoints.embedded import EmbeddedSide, EmbeddedSwitch
    from lusifer.reindex.endpoints.file import FileSide

    collections = EmbeddedCollections(plan.target.address)
    new = EmbeddedSide(
        collections, plan.target.collection, language_field=plan.language_field, keep_open=exclusive
    )
    from_file = plan.source.kind == "file"
    keywords = None
    if not from_file:
        keywords = read_index(collections.root / "collections" / plan.source.collection).keywords
    switch = EmbeddedSwitch(
        collections,
        alias=plan.alias or "",
        old=plan.shown_before,
        new=plan.target.collection,
        fingerprint=plan.model.fingerprint,
        model=plan.model.name,
        dimension=plan.model.dimension,
        keywords=keywords,
    )
    if from_file:
        return Migration(
            FileSide(file_source(plan.source), language_field=plan.language_field),
            new,
            switch,
            searchable=False,
        )
    old = EmbeddedSide(collections, plan.source.collection, language_field=plan.language_field)
    return Migration(old, new, switch, fence=old.held)


def _qdrant(plan: Plan) -> Migration:
    from lusifer.qdrant.connection import client_errors, connect_by_environment
    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.reindex.endpoints.file import FileSide
    from lusifer.reindex.endpoints.qdrant.alias import QdrantAlias
    from lusifer.reindex.endpoints.qdrant.collection import QdrantSide
    from lusifer.reindex.endpoints.qdrant.named_vector import QdrantInPlaceSide, QdrantVector

    source, target, model = plan.source, plan.target, plan.model
    client = connect_by_environment(target.address, grpc=target.grpc)
    try:
        from_file = source.kind == "file"
        read_from = target.collection if from_file else source.collection
        keywords, carried, old_card = None, [], None
        with client_errors(read_from):
            if client.collection_exists(read_from):
                info = client.get_collection(read_from)
                old_card = _card(read_from, info)
                keywords = old_card.keywords if old_card else None
                named = (
                    info.config.params.vectors
                    if isinstance(info.config.params.vectors, dict)
                    else {}
                )
                others = {*named, *(info.config.params.sparse_vectors or {})}
                carried = sorted(others - {source.vector_name, target.vector_name})
        card = CollectionMetadata(
            collection=target.collection,
            fingerprint=model.fingerprint,
            model=model.name,
            dimension=model.dimension,
            role_prompts=model.role_prompts,
            vector_name=target.vector_name,
            keywords=keywords,
        )
        common: dict[str, Any] = {
            "text_field": source.text_field,
            "language_field": plan.language_field,
        }
        if plan.in_place and plan.old_model is not None:
            prompts = {"role_prompts": plan.old_model.role_prompts}
            before = card.model_copy(update=_fields(source, plan.old_model) | prompts)
            return Migration(
                QdrantSide(
                    client,
                    source.collection,
                    source.vector_name,
                    lacking=target.vector_name,
                    **common,
                ),
                QdrantInPlaceSide(client, target.collection, target.vector_name, **common),
                QdrantVector(client, old=before, new=card),
                in_place=True,
                release=client.close,
            )
        new = QdrantSide(client, target.collection, target.vector_name, keywords=keywords, **common)
        switch = QdrantAlias(
            client, alias=plan.alias, old=plan.shown_before, old_vector=source.vector_name, card=card,
            like=None if from_file else source.collection,
        )  # fmt: skip
        if from_file:
            files = FileSide(file_source(source), language_field=plan.language_field)
            return Migration(files, new, switch, searchable=False, release=client.close)
        old = QdrantSide(client, source.collection, source.vector_name, carried=carried, **common)
        return Migration(old, new, switch, release=client.close)
    except BaseException:
        client.close()
        raise


def _weaviate(plan: Plan, *, hold_writes: bool) -> Migration:
    from lusifer.reindex.endpoints.file import FileSide
    from lusifer.reindex.endpoints.weaviate.alias import WeaviateAlias
    from lusifer.reindex.endpoints.weaviate.collection import WeaviateSide
    from lusifer.reindex.endpoints.weaviate.named_vector import WeaviateInPlaceSide, WeaviateVector
    from lusifer.weaviate.connection import client_errors, connect_by_environment
    from lusifer.weaviate.metadata import CollectionMetadata, parse_metadata, rules_of
    from lusifer.weaviate.objects import object_id
    from lusifer.weaviate.text_composition import TextRules

    source, target, model = plan.source, plan.target, plan.model
    client = connect_by_environment(target.address)
    try:
        card = CollectionMetadata(
            collection=target.collection,
            fingerprint=model.fingerprint,
            model=model.name,
            dimension=model.dimension,
            vector_name=target.vector_name,
            text_property=source.text_field,
        )
        from_file = source.kind == "file"
        rules = TextRules(collection=target.collection, source_properties=(source.text_field,))
        if not from_file:
            with client_errors(source.collection):
                config = client.collections.get(source.collection).config.get()
            if plan.old_model is not None:
                before = parse_metadata(source.collection, config)
                if plan.in_place:
                    # After the switch the collection's own card is the new one.
                    before = before.model_copy(update=_fields(source, plan.old_model))
                card = before.model_copy(update=_fields(target, model))
                rules = rules_of(before, config)
        common: dict[str, Any] = {"rules": rules, "language_field": plan.language_field}
        new = WeaviateSide(
            client,
            target.collection,
            target.vector_name,
            text_property=card.text_property,
            **common,
        )
        switch = WeaviateAlias(
            client,
            alias=plan.alias or "",
            old=plan.shown_before,
            new=target.collection,
            card=card,
            like=None if from_file else source.collection,
            old_vector=source.vector_name,
            service_address=plan.service_address,
            service_dimension=plan.service_dimension,
        )
        if plan.in_place and plan.old_model is not None:
            old = WeaviateSide(client, source.collection, source.vector_name, **common)
            card_switch = WeaviateVector(
                client,
                target.collection,
                old=before,
                new=card,
                service_address=plan.service_address,
                service_dimension=plan.service_dimension,
            )
            added = WeaviateInPlaceSide(
                client,
                target.collection,
                target.vector_name,
                in_use=card_switch.shows_new,
                **common,
            )
            return Migration(old, added, card_switch, in_place=True, release=client.close)
        if from_file:
            files = FileSide(
                file_source(source), key_of=object_id, language_field=plan.language_field
            )
            return Migration(files, new, switch, searchable=False, release=client.close)
        old = WeaviateSide(client, source.collection, source.vector_name, **common)
        fence = old.held if hold_writes else nullcontext
        return Migration(old, new, switch, fence=fence, release=client.close)
    except BaseException:
        client.close()
        raise


def _fields(place: Place, model: Model) -> dict[str, Any]:
    """Of a collection's card, what tells of a vector and its model."""
    return {
        "collection": place.collection,
        "vector_name": place.vector_name,
        "fingerprint": model.fingerprint,
        "model": model.name,
        "dimension": model.dimension,
    }


def _card(collection: str, info: Any) -> Any:
    from lusifer.errors import CollectionMismatchError
    from lusifer.qdrant.metadata import parse_metadata

    try:
        return parse_metadata(collection, info)
    except CollectionMismatchError:
        # Another model's, made by hand: documents can be read all the same.
        return None
