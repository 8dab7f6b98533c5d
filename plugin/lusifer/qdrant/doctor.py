"""Why does it not work? What can be seen of a Qdrant server and a collection from here, each with
its fix.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from lusifer.embedding.remote import RemoteVectorizer
from lusifer.errors import InvalidInputError, LusiferError
from lusifer.qdrant.connection import TIMEOUT_S, import_client, qdrant_errors
from lusifer.qdrant.metadata import CollectionMetadata, parse_metadata
from lusifer.stores.diagnostics import Diagnostic, error, note, ok, warning

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

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

_LIMITS = {
    "upsert_max_batchsize": (256, "points in an upsert"),
    "max_query_limit": (256, "points in a query or scroll"),
    "filter_max_conditions": (8, "conditions in a filter"),
    "condition_max_size": (256, "ids in a condition"),
}
"""Strict-mode limit to what LUSIFER's own commands need."""

_CLIENT_TIMEOUT_S = 5
"""Default of qdrant-client, REST and gRPC."""
_BATCH = 64
"""Default batch of its ``upload_points``."""
_LONG_TEXT = "How do I unpack an archive and edit the photographs in it? " * 40


def examine(
    client: Any,
    *,
    collection: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
) -> Iterator[Diagnostic]:
    """Look at a server, and at a collection if one is named, one finding after the other.

    Nothing is written; with a collection, a question goes through the server's own inference.

    Args:
        client: A ``QdrantClient`` with ``cloud_inference=True``.
        collection: Its name or alias.
        embedder: The model in use here; its fingerprint and its vector of the question are
            compared. By default that of the service.
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
            yield note("collection", "None was named.", "Add --collection NAME to look at one.")
            return
        try:
            with qdrant_errors(collection):
                info = client.get_collection(collection)
        except LusiferError as failed:
            yield error("collection", failed.message, failed.next_step)
            return
        card = yield from _collection(collection, info, embedder, version)
        yield from _limits(info)
        if card is not None:
            yield from _points(client, card)
            yield from _probe(client, card, embedder)


def _server(client: Any) -> Generator[Diagnostic, None, Version | None]:
    try:
        with qdrant_errors(""):
            version = str(client.info().version)
    except LusiferError as failed:
        yield error(
            "server", failed.message, "Check the address, the port (6333) and QDRANT_API_KEY."
        )
        return None
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < _MINIMUM:
        yield error(
            "version",
            f"Qdrant {version} is older than {'.'.join(map(str, _MINIMUM))}.",
            "Upgrade: the model's fingerprint is kept in collection metadata, which older ones lack.",
        )
        return numbers
    missing = [
        f"{'.'.join(map(str, since))} {what}" for since, what in _FEATURES if numbers < since
    ]
    if missing:
        yield warning(
            "version", f"Qdrant {version} lacks: {'; '.join(missing)}.", "Upgrade Qdrant."
        )
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
        yield error("service", failed.message, failed.next_step)
        return None
    if embedder is not None and service.fingerprint != embedder.fingerprint:
        yield error(
            "service",
            f"{url} serves {service.model_name} ({service.fingerprint}), the model here is "
            f"{embedder.model_name} ({embedder.fingerprint}).",
            "Serve the same bundle that is used here.",
        )
    else:
        yield ok(
            "service", f"{url} serves {service.model_name}, {service.dimension} numbers a vector"
        )
    return service


def _timeouts(service: RemoteVectorizer, version: Version | None) -> Iterator[Diagnostic]:
    """Whether a batch of long documents is embedded before somebody on the way gives up."""
    start_s = time.perf_counter()
    try:
        tokens = service.embed_documents([_LONG_TEXT]).tokens[0]
    except InvalidInputError:  # over the limit, under the policy ``error``
        tokens = service.embed_documents([_LONG_TEXT[:59]]).tokens[0]
    except LusiferError as failed:
        yield error("timeouts", failed.message, failed.next_step)
        return
    batch_s = _BATCH * (time.perf_counter() - start_s)
    measured = f"{_BATCH} texts of {tokens} tokens take the service about {batch_s:.0f} s"
    limits = {"qdrant-client by default": _CLIENT_TIMEOUT_S}
    if version is not None and version < (1, 16, 1):
        limits["this Qdrant by default"] = 10
    if short := {who: limit for who, limit in limits.items() if limit < batch_s}:
        retry_for_s = max(TIMEOUT_S, round(2 * batch_s))
        yield warning(
            "timeouts",
            f"{measured}; {' and '.join(f'{who} waits for {limit} s' for who, limit in short.items())}.",
            f"Write QdrantClient(timeout={retry_for_s}) and upload_points(batch_size=8), and start Qdrant "
            f"with QDRANT__INFERENCE__TIMEOUT={retry_for_s}.",
        )
    else:
        yield ok("timeouts", f"{measured}, less than any timeout on the way")


def _collection(
    collection: str, info: Any, embedder: Embedder | None, version: Version
) -> Generator[Diagnostic, None, CollectionMetadata | None]:
    try:
        card = parse_metadata(collection, info)
    except LusiferError as failed:
        yield error("schema", failed.message, failed.next_step)
        return None
    yield ok(
        "schema",
        f"vector {card.vector_name!r} of {card.dimension} numbers, Cosine, filled by {card.model}"
        + (", with keywords" if card.keywords else ""),
    )
    if card.keywords is not None and card.keywords.language is None and version < _NEUTRAL_KEYWORDS:
        yield error(
            "keywords",
            "The keywords are of no language, which this Qdrant's BM25 does not know.",
            "Upgrade to Qdrant 1.19, or make the collection with --keyword-language.",
        )
    if embedder is not None:
        try:
            card.check(fingerprint=embedder.fingerprint, model=embedder.model_name)
            yield ok("fingerprint", "the model here is the one that filled it")
        except LusiferError as failed:
            yield error("fingerprint", failed.message, failed.next_step)
    if _value(info.status) == "red":
        yield error(
            "status",
            f"The collection {collection} is red: {_value(info.optimizer_status)}.",
            "Look into Qdrant's log; a full disk or too little memory are usual.",
        )
    return card


def _points(client: Any, card: CollectionMetadata) -> Iterator[Diagnostic]:
    models = import_client().models
    lacking = models.Filter(must_not=[models.HasVectorCondition(has_vector=card.vector_name)])
    try:
        with qdrant_errors(card.collection):
            total, without = (
                client.count(card.collection, count_filter=wanted, exact=True).count
                for wanted in (None, lacking)
            )
    except LusiferError as failed:
        yield error("points", failed.message, failed.next_step)
        return
    if without:
        yield error(
            "points",
            f"{without:,} of {total:,} points lack the vector {card.vector_name!r}: no search finds them.",
            "Index their documents again.",
        )
    else:
        yield ok("points", f"{total:,}, all with a vector")
    for name, why in (
        ("text", "a search that finds one of them fails, and a later model has nothing to embed"),
        ("sha256", "a later change of the model can't tell an edited text from an old one"),
    ):
        unmarked = models.Filter(
            must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=name))]
        )
        try:
            with qdrant_errors(card.collection):
                missing = client.count(card.collection, count_filter=unmarked, exact=True).count
        except (
            InvalidInputError
        ):  # strict mode refuses filters on fields without an index, and says so below
            return
        except LusiferError as failed:
            yield error("payload", failed.message, failed.next_step)
            return
        if missing:
            yield warning(
                "payload",
                f"{missing:,} of {total:,} points have no {name} in their payload: {why}.",
                "Write documents with lusifer index or lusifer.qdrant.search.points.",
            )


def _limits(info: Any) -> Iterator[Diagnostic]:
    strict = getattr(info.config, "strict_mode_config", None)
    if strict is None or not strict.enabled:
        yield ok("strict mode", "off")
        return
    bites = list(_biting(strict, info))
    yield from bites or [ok("strict mode", "on, no limit that would bite")]


def _biting(strict: Any, info: Any) -> Iterator[Diagnostic]:
    def limit_of(name: str) -> Any:
        return getattr(strict, name, None)

    for name, (needed, what) in _LIMITS.items():
        limit = limit_of(name)
        if limit is not None and limit < needed:
            yield warning(
                "strict mode",
                f"{name} is {limit}; LUSIFER needs up to {needed} {what}.",
                f"Raise it with update_collection(strict_mode_config=StrictModeConfig({name}={needed})).",
            )
    if (limit := limit_of("max_timeout")) is not None and limit < TIMEOUT_S:
        yield note(
            "strict mode",
            f"max_timeout is {limit}: a call with a longer timeout= is refused.",
            "Give no timeout= to single calls; that of QdrantClient itself is not sent.",
        )
    if limit_of("unindexed_filtering_retrieve") is False:
        yield note(
            "strict mode",
            "Filters on fields without an index are refused; indexed are "
            f"{', '.join(sorted(info.payload_schema)) or 'none'}.",
            "Index what --where, --language and --group-by name: create_payload_index, or at setup "
            "--index-field.",
        )
    for name in ("read_rate_limit", "write_rate_limit"):
        if (limit := limit_of(name)) is not None:
            yield note(
                "strict mode",
                f"{name} is {limit} a minute.",
                "lusifer index waits when it is reached; raise it for a large ingest.",
            )
    for name in (
        "max_points_count",
        "max_collection_vector_size_bytes",
        "max_collection_payload_size_bytes",
        "max_resident_memory_percent",
    ):
        if (limit := limit_of(name)) is not None:
            yield note(
                "strict mode",
                f"{name} is {limit:,}; {info.points_count or 0:,} points are there.",
                "Raise it before the ingest of more than fits.",
            )


def _probe(
    client: Any, card: CollectionMetadata, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    models = import_client().models
    question = "How do I unpack an archive?"

    def best(query: Any) -> Any:
        with qdrant_errors(card.collection):
            points = client.query_points(
                card.collection, query=query, using=card.vector_name, limit=1
            ).points
        return points[0] if points else None

    model = f"lusifer/{card.model}"
    options = {"dimensions": card.dimension}
    try:
        there = best(models.Document(text=question, model=model, options=options))
    except LusiferError as failed:
        if "not configured" in failed.message:
            yield note(
                "inference",
                "The server has no inference service, so vectors must be sent along.",
                "To have documents embedded by the server, start it with QDRANT__INFERENCE__ADDRESS="
                "http://HOST:8000/qdrant",
            )
        else:
            yield error(
                "inference",
                failed.message,
                "Check QDRANT__INFERENCE__ADDRESS of the server, that lusifer serve is reachable from there, "
                "and its log.",
            )
        return
    if embedder is None or embedder.fingerprint != card.fingerprint or there is None:
        yield ok("inference", f"the server had a question embedded by {model}")
        return
    try:
        vector = embedder.embed_query(question).vector[: card.dimension]
        here = best(vector.tolist())
    except LusiferError as failed:
        yield error("inference", failed.message, failed.next_step)
        return
    # Equal vectors score the same; which of two equal documents comes first may differ.
    difference = abs(here.score - there.score)
    if difference < 1e-4:
        yield ok(
            "inference",
            f"the server's vector of a question is the one made here ({difference:.0e} apart)",
        )
    else:
        yield error(
            "inference",
            f"The server's vector of a question is another than the one made here: best hits {there.id} "
            f"({there.score:.4f}) and {here.id} ({here.score:.4f}).",
            "Serve the same bundle that is used here.",
        )


def _value(of: Any) -> str:
    return str(getattr(of, "value", of))
