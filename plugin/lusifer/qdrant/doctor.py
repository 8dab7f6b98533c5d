"""Diagnose a Qdrant server and one collection."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lusifer.bundle.names import exact_name
from lusifer.embedding.remote import RemoteVectorizer
from lusifer.errors import InvalidInputError, LusiferError
from lusifer.qdrant.connection import TIMEOUT_S, client_errors, import_client
from lusifer.qdrant.hubs import QdrantHubSearch
from lusifer.qdrant.inference import NOT_CONFIGURED
from lusifer.qdrant.metadata import CollectionMetadata, parse_metadata
from lusifer.qdrant.queries import without_vector
from lusifer.qdrant.strict_mode import examine_strict_mode
from lusifer.stores.diagnostics import (
    PROBE_QUERY,
    Diagnostic,
    compare_fingerprint,
    compare_query_vectors,
    compare_service,
    error,
    failure,
    missing_features,
    note,
    ok,
    version_numbers,
    warning,
)
from lusifer.stores.hub_diagnosis import examine_hubs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from qdrant_client import QdrantClient
    from qdrant_client.models import CollectionInfo, Document, Filter, ScoredPoint

    from lusifer.embedding.base import Embedder

    Version = tuple[int, ...]

__all__ = ["examine"]

_FEATURES = (
    ((1, 16), "keeps metadata of collections, passes 429 with Retry-After on"),
    ((1, 17), "forwards lusifer-api-key to the inference service"),
    ((1, 18), "adds named vectors to a collection, TurboQuant"),
    ((1, 19), "evaluates conditional writes before its log: needed to re-embed a live collection"),
)
_MINIMUM = (1, 16)
_NEUTRAL_KEYWORDS = (1, 19)
"""The first version whose BM25 takes ``stemmer: none``."""

_CLIENT_TIMEOUT_S = 5
"""Default of qdrant-client, REST and gRPC."""
_BATCH = 64
"""Default batch of its ``upload_points``."""
_LONG_TEXT = "How do I unpack an archive and edit the photographs in it? " * 40

_PAYLOAD_FIELDS = (
    ("text", "a search that finds one of them fails, and a later model has nothing to embed"),
    ("sha256", "a later change of the model can't distinguish an edited text from an old one"),
)


def examine(
    client: QdrantClient,
    *,
    collection: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
) -> Iterator[Diagnostic]:
    """Yield diagnostics of a server, and of a collection if one is named.

    Nothing is written. With a collection, a query goes through the server's own inference.

    Args:
        client: A ``QdrantClient`` with ``cloud_inference=True``.
        collection: Its name or alias.
        embedder: The model in use here; its fingerprint and its query vector are compared. By
            default that of the service.
        service_url: Where the server's ``inference.address`` points, as reached from here.
    """
    with ExitStack() as opened:
        version = yield from _server(client)
        if service_url is not None:
            service = yield from _service(service_url, embedder)
            if service is not None:
                opened.callback(service.close)
                yield from _timeouts(service, version)
                embedder = embedder or service
        if version is None:
            return
        if collection is None:
            yield note("collection", "None was named.", "Add --collection NAME to examine one.")
            return
        try:
            with client_errors(collection):
                config = client.get_collection(collection)
        except LusiferError as failed:
            yield failure("collection", failed)
            return
        metadata = yield from _collection(collection, config, embedder, version)
        yield from examine_strict_mode(config)
        if metadata is not None:
            yield from _points(client, metadata)
            yield from _inference(client, metadata, embedder)
            same = embedder is not None and embedder.fingerprint == metadata.fingerprint
            try:
                yield from examine_hubs(
                    QdrantHubSearch(client, metadata),
                    config.points_count or 0,
                    embedder if same else None,
                )
            except LusiferError as failed:
                yield failure("hubs", failed)


def _server(client: QdrantClient) -> Generator[Diagnostic, None, Version | None]:
    try:
        with client_errors(""):
            version = str(client.info().version)
    except LusiferError as failed:
        yield error(
            "server", failed.message, "Check the address, the port (6333) and QDRANT_API_KEY."
        )
        return None
    numbers = version_numbers(version)
    missing = missing_features(version, _FEATURES)
    if numbers < _MINIMUM:
        yield error(
            "version",
            f"Qdrant {version} is older than {'.'.join(map(str, _MINIMUM))}.",
            "Upgrade: the model's fingerprint is kept in collection metadata, which older ones "
            "lack.",
        )
    elif missing:
        lacking = "; ".join(f"{since} {what}" for since, what in missing)
        yield warning("version", f"Qdrant {version} lacks: {lacking}.", "Upgrade Qdrant.")
    else:
        yield ok("version", f"Qdrant {version}")
    return numbers


def _service(
    url: str, embedder: Embedder | None
) -> Generator[Diagnostic, None, RemoteVectorizer | None]:
    try:
        key = os.environ.get("LUSIFER_API_KEY")
        service = RemoteVectorizer(url, api_key=key, timeout_s=30, attempts=1)
    except LusiferError as failed:
        yield failure("service", failed)
        return None
    yield compare_service(url, service, embedder)
    return service


def _timeouts(service: RemoteVectorizer, version: Version | None) -> Iterator[Diagnostic]:
    """Report whether a batch of long documents is embedded before a timeout on the way ends it."""
    start_s = time.perf_counter()
    try:
        tokens = service.embed_documents([_LONG_TEXT]).tokens[0]
    except InvalidInputError:  # over the limit, under the policy ``error``
        tokens = service.embed_documents([_LONG_TEXT[:59]]).tokens[0]
    except LusiferError as failed:
        yield failure("timeouts", failed)
        return
    batch_s = _BATCH * (time.perf_counter() - start_s)
    measured = f"{_BATCH} texts of {tokens} tokens take the service about {batch_s:.0f} s"
    limits = {"qdrant-client by default": _CLIENT_TIMEOUT_S}
    if version is not None and version < (1, 16, 1):
        limits["this Qdrant by default"] = 10
    short = [f"{who} waits for {limit} s" for who, limit in limits.items() if limit < batch_s]
    if short:
        timeout_s = max(TIMEOUT_S, round(2 * batch_s))
        yield warning(
            "timeouts",
            f"{measured}; {' and '.join(short)}.",
            f"Write QdrantClient(timeout={timeout_s}) and upload_points(batch_size=8), and start "
            f"Qdrant with QDRANT__INFERENCE__TIMEOUT={timeout_s}.",
        )
    else:
        yield ok("timeouts", f"{measured}, less than any timeout on the way")


def _collection(
    collection: str, config: CollectionInfo, embedder: Embedder | None, version: Version
) -> Generator[Diagnostic, None, CollectionMetadata | None]:
    try:
        metadata = parse_metadata(collection, config)
    except LusiferError as failed:
        yield failure("schema", failed)
        return None
    keywords = metadata.keywords
    yield ok(
        "schema",
        f"vector {metadata.vector_name!r}, dimension {metadata.dimension}, Cosine, filled by "
        f"{metadata.model}" + (", with keywords" if keywords else ""),
    )
    if keywords is not None and keywords.language is None and version < _NEUTRAL_KEYWORDS:
        yield error(
            "keywords",
            "The keywords have no language, which this Qdrant's BM25 does not support.",
            "Upgrade to Qdrant 1.19, or make the collection with --keyword-language.",
        )
    if keywords is not None and keywords.words == 1:
        yield note(
            "keywords",
            "An older LUSIFER made this collection: Qdrant's own rules cut its words, and they "
            "miss queries of kanji alone and numbers that stand alone.",
            "Index the documents again into a new collection.",
        )
    yield from compare_fingerprint(metadata, embedder)
    if _value(config.status) == "red":
        yield error(
            "status",
            f"The collection {collection} is red: {_value(config.optimizer_status)}.",
            "Look into Qdrant's log; a full disk or too little memory are usual.",
        )
    return metadata


def _points(client: QdrantClient, metadata: CollectionMetadata) -> Iterator[Diagnostic]:
    def count(wanted: Filter | None) -> int:
        with client_errors(metadata.collection):
            return client.count(metadata.collection, count_filter=wanted, exact=True).count

    try:
        total, without = count(None), count(without_vector(metadata.vector_name))
    except LusiferError as failed:
        yield failure("points", failed)
        return
    if without:
        yield error(
            "points",
            f"{without:,} of {total:,} points lack the vector {metadata.vector_name!r}: no search "
            "finds them.",
            "Index their documents again.",
        )
    else:
        yield ok("points", f"{total:,}, all with a vector")
    models = import_client().models
    for name, why in _PAYLOAD_FIELDS:
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=name))
        try:
            missing = count(models.Filter(must=[empty]))
        except InvalidInputError:
            # Strict mode refuses filters on fields without an index; it has a diagnostic of its
            # own.
            return
        except LusiferError as failed:
            yield failure("payload", failed)
            return
        if missing:
            yield warning(
                "payload",
                f"{missing:,} of {total:,} points have no {name} in their payload: {why}.",
                "Write documents with lusifer index or lusifer.qdrant.search.points.",
            )


def _inference(
    client: QdrantClient, metadata: CollectionMetadata, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    """Compare the query vector that the server's inference makes with the one made here."""

    def best(query: list[float] | Document) -> ScoredPoint | None:
        with client_errors(metadata.collection):
            points = client.query_points(
                metadata.collection, query=query, using=metadata.vector_name, limit=1
            ).points
        return points[0] if points else None

    model = exact_name(metadata.model, metadata.fingerprint)
    options = {"dimensions": metadata.dimension}
    models = import_client().models
    try:
        there = best(models.Document(text=PROBE_QUERY, model=model, options=options))
    except LusiferError as failed:
        yield _inference_failed(failed)
        return
    if embedder is None or embedder.fingerprint != metadata.fingerprint or there is None:
        yield ok("inference", f"the server had a query embedded by {model}")
        return
    try:
        vector = embedder.embed_query(PROBE_QUERY).vector[: metadata.dimension]
        here = best(vector.tolist())
    except LusiferError as failed:
        yield failure("inference", failed)
        return
    # A point that was there a moment ago may be gone; then there is nothing to compare.
    if here is not None:
        yield compare_query_vectors(
            there.score, here.score, detail=f"best hits {there.id} and {here.id}"
        )


def _inference_failed(failed: LusiferError) -> Diagnostic:
    if NOT_CONFIGURED in failed.message:
        return note(
            "inference",
            "The server has no inference service, so vectors must be sent along.",
            "To have documents embedded by the server, start it with QDRANT__INFERENCE__ADDRESS="
            "http://HOST:8000/qdrant",
        )
    return error(
        "inference",
        failed.message,
        "Check QDRANT__INFERENCE__ADDRESS of the server, that lusifer serve is reachable from "
        "there, and its log.",
    )


def _value(status: object) -> str:
    return str(getattr(status, "value", status))
