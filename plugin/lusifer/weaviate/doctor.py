"""Diagnose a Weaviate server and one collection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lusifer.errors import EngineUnavailableError, LusiferError, UnauthorizedError
from lusifer.stores.diagnostics import (
    PROBE_QUERY,
    Diagnostic,
    compare_fingerprint,
    compare_query_vectors,
    compare_service,
    error,
    failure,
    note,
    ok,
    warning,
)
from lusifer.stores.hub_diagnosis import examine_hubs
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.hubs import WeaviateHubSearch
from lusifer.weaviate.metadata import module_of, parse_metadata
from lusifer.weaviate.object_checks import examine_objects
from lusifer.weaviate.schema import version_warnings

if TYPE_CHECKING:
    from collections.abc import Collection as AbstractCollection
    from collections.abc import Generator, Iterator, Mapping

    from weaviate import WeaviateClient
    from weaviate.collections import Collection
    from weaviate.outputs.config import CollectionConfig

    from lusifer.embedding.base import Embedder
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["examine"]

_TRANSFORMERS = "text2vec-transformers"

_QUICK_S = 0.5
"""Time that Weaviate itself gives the readiness of a service, and that the connection of a client
waits for /meta."""


def examine(
    client: WeaviateClient,
    *,
    collection: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
    tenant: str | None = None,
) -> Iterator[Diagnostic]:
    """Examine a server, and a collection if one is named, one diagnostic after the other.

    Nothing is written. With a collection, a query goes through the server's own module.

    Args:
        client: A connected ``WeaviateClient``.
        collection: The collection's name or alias.
        embedder: The model in use here; its fingerprint and its vectors are compared.
        service_url: Address of the service behind the server's modules, as reached from here; by
            default the address in the collection's schema.
        tenant: Name of the tenant, for a collection with tenants.
    """
    modules: AbstractCollection[str] = yield from _server(client, embedder)
    if service_url is not None:
        yield from _service(service_url, embedder)
    if collection is None:
        yield note("collection", "None was named.", "Add --collection NAME to examine one.")
        return
    try:
        with client_errors(collection):
            handle = client.collections.get(collection)
            config = handle.config.get()
            handle = handle.with_tenant(tenant) if tenant else handle
        metadata = parse_metadata(collection, config)
    except LusiferError as failed:
        yield failure("schema", failed)
        return
    yield from _schema(metadata, config, modules)
    yield from compare_fingerprint(metadata, embedder)
    if service_url is None and (address := _address(metadata, config)):
        yield from _service(address, embedder, given=False)
    if config.multi_tenancy_config.enabled and tenant is None:
        yield note(
            "objects", "The collection has tenants.", "Add --tenant NAME to examine its objects."
        )
        return
    yield from examine_objects(handle, metadata, config, embedder)
    if module_of(config, metadata.vector_name) != "none":
        yield from _inference(handle, metadata, embedder)
    same = embedder is not None and embedder.fingerprint == metadata.fingerprint
    try:
        with client_errors(collection):
            total = handle.aggregate.over_all(total_count=True).total_count or 0
        search = WeaviateHubSearch(handle, metadata, config)
        yield from examine_hubs(search, total, embedder if same else None)
    except LusiferError as failed:
        yield failure("hubs", failed)


def _server(
    client: WeaviateClient, embedder: Embedder | None
) -> Generator[Diagnostic, None, AbstractCollection[str]]:
    """Report version, speed and modules of the server; return the names of its modules."""
    started_s = time.monotonic()
    try:
        with client_errors(""):
            meta = client.get_meta()
    except LusiferError as failed:
        yield error("server", failed.message, "Check the address, the ports and WEAVIATE_API_KEY.")
        return ()
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
            f"/v1/meta took {took_s:.1f} s; the server asks the service's /meta for it, and every "
            "client requests it to connect.",
            "Look at the service: lusifer serve answers /meta at once.",
        )
    modules: Mapping[str, object] = meta.get("modules") or {}
    ours = sorted(set(modules) & {_TRANSFORMERS, "text2vec-cohere"})
    if ours:
        yield ok("modules", ", ".join(ours))
    else:
        yield error(
            "modules",
            "Neither text2vec-transformers nor text2vec-cohere is on, so their collections are not "
            "loaded.",
            "Start the server with ENABLE_MODULES=text2vec-transformers and "
            "TRANSFORMERS_INFERENCE_API=http://HOST:8000",
        )
    if _TRANSFORMERS in modules:
        yield _reached(modules[_TRANSFORMERS], embedder)
    return modules


def _reached(answer: object, embedder: Embedder | None) -> Diagnostic:
    """Report what the server itself reaches at TRANSFORMERS_INFERENCE_API.

    Args:
        answer: The /meta of that service, which the server passes on.
        embedder: The model in use here.
    """
    meta: Mapping[str, object] = answer if isinstance(answer, dict) else {}
    only = "Collections with an address of their own are not affected."
    if "error" in meta:
        return warning(
            "reached",
            f"The server can't reach TRANSFORMERS_INFERENCE_API: {meta['error']}. {only}",
            "Start lusifer serve there, and name a host that the server can reach: in a container "
            "localhost is the container.",
        )
    if meta.get("name") != "lusifer":
        return note(
            "reached", f"The service at TRANSFORMERS_INFERENCE_API is no lusifer serve. {only}"
        )
    if embedder is not None and meta.get("fingerprint") not in {None, embedder.fingerprint}:
        return warning(
            "reached",
            f"TRANSFORMERS_INFERENCE_API serves {meta.get('model')} ({meta['fingerprint']}), the "
            f"model here is {embedder.model_name} ({embedder.fingerprint}). {only}",
            "Serve the same bundle that is used here.",
        )
    model = meta.get("model", "which is still loading")
    return ok("reached", f"the server reaches lusifer serve, {model}")


def _service(url: str, embedder: Embedder | None, *, given: bool = True) -> Iterator[Diagnostic]:
    """Ask a service what Weaviate asks at its start.

    Args:
        url: Address of the service.
        embedder: The model in use here.
        given: Whether the address was given to be reached from here. An address from the schema may
            be for the server only, so that not reaching it is no error.
    """
    import httpx

    from lusifer.embedding.remote import RemoteVectorizer

    host = urlsplit(url)
    shown = url.replace(f"{host.username}:{host.password}@", "") if host.username else url
    unreached = error if given else note
    try:
        started_s = time.monotonic()
        ready = httpx.get(f"{url}/.well-known/ready", timeout=_QUICK_S)
        if ready.status_code > 299:
            yield error(
                "ready",
                f"{shown} is not ready ({ready.status_code}): {ready.text[:200]}",
                "Wait until its model is loaded, or look into its log.",
            )
        else:
            yield ok("ready", f"{shown} is ready, answered in {time.monotonic() - started_s:.3f} s")
        started_s = time.monotonic()
        httpx.get(f"{url}/meta", timeout=10 * _QUICK_S)
        took_s = time.monotonic() - started_s
        if took_s > _QUICK_S:
            yield warning(
                "service meta",
                f"{shown}/meta took {took_s:.1f} s, and every client of Weaviate waits for it.",
                "Move the service nearer to the server, or look into its log.",
            )
        with RemoteVectorizer(url, timeout_s=5, attempts=1) as service:
            yield compare_service(shown, service, embedder)
    except httpx.TimeoutException:
        yield unreached(
            "ready",
            f"{shown} did not answer within {_QUICK_S} s, which is all that Weaviate waits for it.",
            "Look at the load of the service's machine, and at the network between.",
        )
    except httpx.TransportError as failed:
        yield unreached(
            "ready",
            f"{shown} can't be reached from here: {failed}",
            "Start lusifer serve there; if only the server can reach it, see the result of "
            '"inference" below.',
        )
    except UnauthorizedError:
        yield note(
            "service",
            f"{shown} asks for a key.",
            "Have the server send one: with the address http://any:KEY@HOST:8000, or with "
            "COHERE_APIKEY.",
        )
    except EngineUnavailableError as failed:
        yield unreached("service", failed.message, failed.next_step)
    except LusiferError as failed:
        yield failure("service", failed)


def _address(metadata: CollectionMetadata, config: CollectionConfig) -> str | None:
    """Return the address that the collection's module asks, if its schema has one."""
    settings = (config.vector_config or {})[metadata.vector_name].vectorizer.model or {}
    for name in ("inferenceUrl", "passageInferenceUrl", "baseURL"):
        if settings.get(name):
            return str(settings[name]).rstrip("/").removesuffix("/cohere")
    return None


def _inference(
    handle: Collection, metadata: CollectionMetadata, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    """Compare the query vector of the server's module with the one made here."""
    from weaviate.classes.query import MetadataQuery

    distance = MetadataQuery(distance=True)
    started_s = time.monotonic()
    try:
        with client_errors(handle.name):
            there = handle.query.near_text(
                PROBE_QUERY,
                limit=1,
                target_vector=metadata.vector_name,
                return_metadata=distance,
            ).objects
            took_s = time.monotonic() - started_s
            here = (
                handle.query.near_vector(
                    embedder.embed_query(PROBE_QUERY).vector.tolist(),
                    limit=1,
                    target_vector=metadata.vector_name,
                    return_metadata=distance,
                ).objects
                if embedder and embedder.dimension == metadata.dimension
                else []
            )
    except LusiferError as failed:
        yield error(
            "inference", f"A query through the server failed. {failed.message}", failed.next_step
        )
        return
    if not there or not here:
        yield ok("inference", f"the server had a query embedded, in {took_s:.3f} s")
        return
    server, ours = (1 - (each[0].metadata.distance or 0.0) for each in (there, here))
    yield compare_query_vectors(
        server,
        ours,
        detail=f"in {took_s:.3f} s",
        fix="Serve the same bundle that is used here; before Weaviate 1.31 queries get the "
        "document's prompt.",
    )


def _schema(
    metadata: CollectionMetadata, config: CollectionConfig, modules: AbstractCollection[str]
) -> Iterator[Diagnostic]:
    """Report by which module the collection embeds, and from what."""
    vectorizer = (config.vector_config or {})[metadata.vector_name].vectorizer
    module = module_of(config, metadata.vector_name)
    sources = ", ".join(vectorizer.source_properties or []) or "none"
    yield ok(
        "schema",
        f"vector {metadata.vector_name!r} by {module} from {sources}, filled by {metadata.model}",
    )
    if module == "none":
        yield note(
            "module", "The server embeds nothing for this vector: no near_text, only near_vector."
        )
    elif module not in modules:
        yield error(
            "module",
            f"The collection embeds by {module}, which is not on.",
            f"Add it to ENABLE_MODULES: {module}",
        )
    if (vectorizer.model or {}).get("vectorizeClassName"):
        yield warning(
            "class name",
            f"The collection's name stands before every text: {config.name!r}.",
            "Make the collection with vectorize_collection_name=False; it can't be changed later.",
        )
