"""Why does it not work? What can be seen of a Qdrant server and a collection from here, each with its fix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lusifer.errors import LusiferError
from lusifer.findings import Finding, error, note, ok, warning
from lusifer.qdrant.connection import TIMEOUT_S, import_client, qdrant_errors
from lusifer.qdrant.schema import METADATA_KEY, CollectionCard, read_card

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.embedder import Embedder

__all__ = ["examine"]

_FEATURES = (
    ((1, 16), "keeps metadata of collections, passes 429 with Retry-After on"),
    ((1, 17), "forwards lusifer-api-key to the inference service"),
    ((1, 18), "adds named vectors to a collection, TurboQuant"),
    ((1, 19), "evaluates conditional writes before its log: needed to re-embed a live collection"),
)
_MINIMUM = (1, 16)

_LIMITS = {
    "upsert_max_batchsize": (256, "points in an upsert"),
    "max_query_limit": (1000, "hits of a query"),
    "max_timeout": (TIMEOUT_S, "seconds of a request"),
    "search_max_batchsize": (64, "queries in a batch"),
    "filter_max_conditions": (32, "conditions in a filter"),
}
"""Strict-mode limit to what LUSIFER's own commands may need."""


def examine(
    client: Any,
    *,
    collection: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
    model: str | None = None,
) -> Iterator[Finding]:
    """Look at a server, and at a collection if one is named, one finding after the other.

    Nothing is written but, with a collection and ``model``, one probe query.

    Args:
        client: A ``QdrantClient`` with ``cloud_inference=True``.
        collection: Its name or alias.
        embedder: The model in use here; its fingerprint and its vector of the probe are compared.
        service_url: Where the server's ``inference.address`` points, as reached from here.
        model: The model's name in documents, to send a probe through the server's own inference.
    """
    yield from _server(client)
    if service_url is not None:
        yield from _service(service_url, embedder)
    if collection is None:
        yield note("collection", "None was named.", "Add --collection NAME to look at one.")
        return
    try:
        with qdrant_errors(collection):
            info = client.get_collection(collection)
    except LusiferError as failed:
        yield error("collection", failed.message, failed.next_step)
        return
    yield from _collection(client, collection, info, embedder)
    yield from _limits(info)
    if model is not None:
        yield from _probe(client, collection, info, embedder, model)


def _server(client: Any) -> Iterator[Finding]:
    try:
        with qdrant_errors(""):
            version = str(client.info().version)
    except LusiferError as failed:
        yield error("server", failed.message, "Check the address, the port (6333) and QDRANT_API_KEY.")
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < _MINIMUM:
        yield error(
            "version",
            f"Qdrant {version} is older than {'.'.join(map(str, _MINIMUM))}.",
            "Upgrade: the model's fingerprint is kept in collection metadata, which older ones lack.",
        )
        return
    missing = [f"{'.'.join(map(str, since))} {what}" for since, what in _FEATURES if numbers < since]
    if missing:
        yield warning("version", f"Qdrant {version} lacks: {'; '.join(missing)}.", "Upgrade Qdrant.")
    else:
        yield ok("version", f"Qdrant {version}")


def _service(url: str, embedder: Embedder | None) -> Iterator[Finding]:
    from lusifer.embedder import RemoteVectorizer

    try:
        with RemoteVectorizer(url, timeout_s=5, attempts=1) as service:
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
    except LusiferError as failed:
        yield error("service", failed.message, failed.next_step)


def _collection(client: Any, collection: str, info: Any, embedder: Embedder | None) -> Iterator[Finding]:
    try:
        card = read_card(collection, info)
    except LusiferError as failed:
        yield error("schema", failed.message, failed.next_step)
        return
    yield ok(
        "schema",
        f"vector {card.vector_name!r} of {card.dimension} numbers, Cosine, filled by {card.model}"
        + (", with keywords" if card.keywords else ""),
    )
    if embedder is not None:
        try:
            card.check(fingerprint=embedder.fingerprint, model=embedder.model_name)
            yield ok("fingerprint", "the model here is the one that filled it")
        except LusiferError as failed:
            yield error("fingerprint", failed.message, failed.next_step)
    yield from _counts(client, card)
    if str(getattr(info.status, "value", info.status)) == "red":
        yield error("status", f"The collection {collection} is red.", "Look into Qdrant's log.")


def _counts(client: Any, card: CollectionCard) -> Iterator[Finding]:
    models = import_client().models
    lacking = models.Filter(must_not=[models.HasVectorCondition(has_vector=card.vector_name)])
    unmarked = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="sha256"))])
    try:
        with qdrant_errors(card.collection):
            total, without, unhashed = (
                client.count(card.collection, count_filter=wanted, exact=True).count
                for wanted in (None, lacking, unmarked)
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
    if unhashed:
        yield warning(
            "hashes",
            f"{unhashed:,} of {total:,} points have no sha256 in their payload.",
            "Write documents with lusifer index or lusifer.qdrant.points: a later change of the model needs "
            "the hash to tell an edited text from an old one.",
        )


def _limits(info: Any) -> Iterator[Finding]:
    strict = getattr(info.config, "strict_mode_config", None)
    if strict is None or not strict.enabled:
        yield ok("strict mode", "off")
        return
    bites = False
    for name, (needed, what) in _LIMITS.items():
        limit = getattr(strict, name, None)
        if limit is not None and limit < needed:
            bites = True
            yield warning(
                "strict mode",
                f"{name} is {limit}; LUSIFER may need {needed} {what}.",
                f"Raise it, or stay below it (lusifer index --window {limit})."
                if name == "upsert_max_batchsize"
                else "Raise it.",
            )
    for name in ("read_rate_limit", "write_rate_limit"):
        if (limit := getattr(strict, name, None)) is not None:
            bites = True
            yield note("strict mode", f"{name} is {limit} a minute: lusifer waits when it is reached.")
    if not bites:
        yield ok("strict mode", "on, no limit that would bite")


def _probe(
    client: Any, collection: str, info: Any, embedder: Embedder | None, model: str
) -> Iterator[Finding]:
    models = import_client().models
    card = (info.config.metadata or {}).get(METADATA_KEY, {})
    using = card.get("vector_name", "lusifer")
    question = models.Document(text="How do I unpack an archive?", model=model)
    try:
        with qdrant_errors(collection):
            found = client.query_points(collection, query=question, using=using, limit=1).points
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
    if embedder is None or not found:
        yield ok("inference", f"The server had a question embedded by {model}.")
        return
    here = client.query_points(
        collection, query=embedder.embed_query(question.text).vector.tolist(), using=using, limit=1
    ).points
    difference = abs(here[0].score - found[0].score)
    if here[0].id == found[0].id and difference < 1e-4:
        yield ok(
            "inference", f"The server's vector of a question is the one made here ({difference:.0e} apart)."
        )
    else:
        yield error(
            "inference",
            f"The server's vector of a question is another than the one made here: best hits {found[0].id} "
            f"({found[0].score:.4f}) and {here[0].id} ({here[0].score:.4f}).",
            "Serve the same bundle that is used here.",
        )
