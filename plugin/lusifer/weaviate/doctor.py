"""Why does it not work? What can be seen of a Weaviate server and a collection, with its fix."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lusifer.errors import LusiferError
from lusifer.findings import Finding, error, note, ok, warning
from lusifer.weaviate.compose import compose_text
from lusifer.weaviate.connection import weaviate_errors
from lusifer.weaviate.schema import read_card, rules_of, version_warnings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lusifer.embedder import Embedder
    from lusifer.weaviate.schema import CollectionCard

__all__ = ["examine"]

_QUICK_S = 0.5
"""What Weaviate itself gives the readiness of a service, and what a client's connecting waits for /meta."""

_SCANNED = 10_000
"""Objects that are looked through for missing vectors."""


def examine(
    client: Any,
    *,
    collection: str | None = None,
    tenant: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
) -> Iterator[Finding]:
    """Look at a server, and at a collection if one is named, one finding after the other; nothing is written.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its name or alias.
        tenant: Of a collection with tenants.
        embedder: The model in use here; its fingerprint and its vectors are compared.
        service_url: Of the service behind the server's modules, as reached from here.
    """
    modules: set[str] = yield from _server(client)
    if service_url is not None:
        yield from _service(service_url, embedder)
    if collection is None:
        yield note("collection", "None was named.", "Add --collection NAME to look at one.")
        return
    try:
        with weaviate_errors(collection):
            handle = client.collections.get(collection)
            config = handle.config.get()
            handle = handle.with_tenant(tenant) if tenant else handle
        card = read_card(collection, config)
    except LusiferError as failed:
        yield error("schema", failed.message, failed.next_step)
        return
    yield from _schema(card, config, modules, embedder)
    if config.multi_tenancy_config.enabled and tenant is None:
        yield note("objects", "The collection has tenants.", "Add --tenant NAME to look at its objects.")
        return
    yield from _objects(handle, card, config, embedder)
    yield from _probe(handle, card, embedder)


def _server(client: Any) -> Generator[Finding, None, set[str]]:
    started_s = time.monotonic()
    try:
        with weaviate_errors(""):
            meta = client.get_meta()
    except LusiferError as failed:
        yield error("server", failed.message, "Check the address, the ports and WEAVIATE_API_KEY.")
        return set()
    took_s = time.monotonic() - started_s
    version = str(meta.get("version", "0"))
    lacking = version_warnings(version)
    for each in lacking:
        yield warning("version", each, "Upgrade Weaviate.")
    if not lacking:
        yield ok("version", f"Weaviate {version}")
    if took_s > _QUICK_S:
        yield warning(
            "meta",
            f"/v1/meta took {took_s:.1f} s; it asks the service's /meta, and every client asks it to "
            f"connect.",
            "Look at the service: lusifer serve answers /meta at once.",
        )
    modules = set(meta.get("modules") or {})
    ours = sorted(modules & {"text2vec-transformers", "text2vec-cohere"})
    if ours:
        yield ok("modules", ", ".join(ours))
    else:
        yield error(
            "modules",
            "Neither text2vec-transformers nor text2vec-cohere is on.",
            "Start the server with ENABLE_MODULES=text2vec-transformers and "
            "TRANSFORMERS_INFERENCE_API=http://"
            "HOST:8000",
        )
    return modules


def _service(url: str, embedder: Embedder | None) -> Iterator[Finding]:
    from lusifer.embedder import RemoteVectorizer

    started_s = time.monotonic()
    try:
        with RemoteVectorizer(url, timeout_s=5, attempts=1) as service:
            took_s = time.monotonic() - started_s
            if embedder is not None and service.fingerprint != embedder.fingerprint:
                yield error(
                    "service",
                    f"{url} serves {service.model_name} ({service.fingerprint}), the model here is "
                    f"{embedder.model_name} ({embedder.fingerprint}).",
                    "Serve the same bundle that is used here.",
                )
            else:
                yield ok("service", f"{url} serves {service.model_name}, dimension {service.dimension}")
            if took_s > _QUICK_S:
                yield warning(
                    "service",
                    f"{url} took {took_s:.1f} s to say what it is; Weaviate waits 0.5 s.",
                    "Bring it nearer to the server.",
                )
    except LusiferError as failed:
        yield error("service", failed.message, failed.next_step)


def _schema(
    card: CollectionCard, config: Any, modules: set[str], embedder: Embedder | None
) -> Iterator[Finding]:
    vectorizer = config.vector_config[card.vector_name].vectorizer
    module = str(getattr(vectorizer.vectorizer, "value", vectorizer.vectorizer))
    settings = vectorizer.model or {}
    sources = ", ".join(vectorizer.source_properties or []) or "none"
    yield ok("schema", f"vector {card.vector_name!r} by {module} from {sources}, filled by {card.model}")
    if module not in modules and module != "none":
        yield error(
            "module",
            f"The collection embeds by {module}, which is not on.",
            f"Add it to ENABLE_MODULES: {module}",
        )
    if settings.get("vectorizeClassName"):
        yield warning(
            "class name",
            f"The collection's name stands before every text: {config.name!r}.",
            "Make the collection with vectorize_collection_name=False; it can't be changed later.",
        )
    if embedder is not None:
        try:
            card.check(config.name, fingerprint=embedder.fingerprint, model=embedder.model_name)
            yield ok("fingerprint", "the model here is the one that filled it")
        except LusiferError as failed:
            yield error("fingerprint", failed.message, failed.next_step)


def _objects(handle: Any, card: CollectionCard, config: Any, embedder: Embedder | None) -> Iterator[Finding]:
    name = card.vector_name
    seen = without = 0
    sample: Any = None
    try:
        with weaviate_errors(config.name):
            total = handle.aggregate.over_all(total_count=True).total_count
            for each in handle.iterator(include_vector=[name]):
                seen += 1
                without += not each.vector.get(name)
                sample = sample or (each if each.vector.get(name) else None)
                if seen == _SCANNED:
                    break
    except LusiferError as failed:
        yield error("objects", failed.message, failed.next_step)
        return
    looked = f"{seen:,} of {total:,} objects" if seen < total else f"{total:,} objects"
    if without:
        yield error(
            "vectors",
            f"{without:,} in {looked} have no vector: no search finds them.",
            "Run lusifer index again. Adding a named vector, or importing the same text again, fills "
            "nothing.",
        )
    else:
        yield ok("vectors", f"{looked}, all with a vector")
    if sample is None:
        return
    properties = {key: value for key, value in sample.properties.items() if value is not None}
    text = compose_text(properties, rules_of(card, config))
    yield note("text", f"For object {sample.uuid} this is embedded: {text[:200]!r}")
    if embedder is not None and text and embedder.fingerprint == card.fingerprint:
        vector = embedder.embed_documents([text]).vectors[0]
        cosine = float(vector @ sample.vector[name])
        if cosine > 0.999:
            yield ok("sample", f"its vector is the one made here from that text (cosine {cosine:.5f})")
        else:
            yield error(
                "sample",
                f"its vector is not the one made here from that text (cosine {cosine:.5f}).",
                "It was made from another text or by another model: run lusifer index again.",
            )


def _probe(handle: Any, card: CollectionCard, embedder: Embedder | None) -> Iterator[Finding]:
    """A question through the server's module."""
    from weaviate.classes.query import MetadataQuery

    question = "How do I unpack an archive?"
    shown = MetadataQuery(distance=True)
    try:
        with weaviate_errors(handle.name):
            found = handle.query.near_text(
                question, limit=1, target_vector=card.vector_name, return_metadata=shown
            ).objects
    except LusiferError as failed:
        advice = failed.next_step
        if "private" in failed.message or "not allowed" in failed.message:
            advice = "MODULES_VALIDATE_BASE_URL is on and refuses private addresses: switch it off."
        elif "dial" in failed.message or "refused" in failed.message:
            advice = "Start lusifer serve where the collection's inferenceUrl points."
        yield error("inference", f"A question through the server failed: {failed.message}", advice)
        return
    if embedder is None or not found:
        yield ok("inference", "The server had a question embedded.")
        return
    with weaviate_errors(handle.name):
        here = handle.query.near_vector(
            embedder.embed_query(question).vector.tolist(),
            limit=1,
            target_vector=card.vector_name,
            return_metadata=shown,
        ).objects
    if abs(here[0].metadata.distance - found[0].metadata.distance) < 1e-4:
        yield ok("inference", "The server's vector of a question is the one made here.")
    else:
        yield error(
            "inference",
            "The server's vector of a question is another than the one made here: distances "
            f"{found[0].metadata.distance:.4f} and {here[0].metadata.distance:.4f}.",
            "Serve the same bundle that is used here; before Weaviate 1.31 questions get the document's "
            "prompt.",
        )
