"""Why does it not work? What can be seen of a Weaviate server and a collection, with its fix."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lusifer.errors import EngineUnavailableError, LusiferError, UnauthorizedError
from lusifer.stores.diagnostics import Diagnostic, error, note, ok, warning
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import module_of, parse_metadata, rules_of
from lusifer.weaviate.schema import version_warnings
from lusifer.weaviate.text_composition import compose_text
from lusifer.weaviate.tokenization import advise_tokenization, fits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from lusifer.embedding.base import Embedder
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["examine"]

_QUICK_S = 0.5
"""What Weaviate itself gives the readiness of a service, and what a client's connecting waits for
/meta."""

_SCANNED = 10_000
"""Objects that are looked through for missing vectors."""

_READ = 500
"""Objects of these whose scripts are looked at."""

_SAME = 0.999
"""Cosine over which two vectors are of one text: the same model on another processor gives 0.9999.
"""


def examine(
    client: Any,
    *,
    collection: str | None = None,
    tenant: str | None = None,
    embedder: Embedder | None = None,
    service_url: str | None = None,
) -> Iterator[Diagnostic]:
    """Look at a server, and at a collection if one is named, one finding after the other; nothing is written.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its name or alias.
        tenant: Of a collection with tenants.
        embedder: The model in use here; its fingerprint and its vectors are compared.
        service_url: Of the service behind the server's modules, as reached from here; by default
            the address in the collection's schema.
    """
    modules: set[str] = yield from _server(client, embedder)
    if service_url is not None:
        yield from _service(service_url, embedder)
    if collection is None:
        yield note("collection", "None was named.", "Add --collection NAME to look at one.")
        return
    try:
        with client_errors(collection):
            handle = client.collections.get(collection)
            config = handle.config.get()
            handle = handle.with_tenant(tenant) if tenant else handle
        metadata = parse_metadata(collection, config)
    except LusiferError as failed:
        yield error("schema", failed.message, failed.next_step)
        return
    yield from _schema(metadata, config, modules, embedder)
    if service_url is None and (address := _address(metadata, config)):
        yield from _service(address, embedder, given=False)
    if config.multi_tenancy_config.enabled and tenant is None:
        yield note(
            "objects", "The collection has tenants.", "Add --tenant NAME to look at its objects."
        )
        return
    yield from _objects(handle, metadata, config, embedder)
    if module_of(config, metadata.vector_name) != "none":
        yield from _probe(handle, metadata, embedder)


def _server(client: Any, embedder: Embedder | None) -> Generator[Diagnostic, None, set[str]]:
    started_s = time.monotonic()
    try:
        with client_errors(""):
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
    modules = meta.get("modules") or {}
    ours = sorted(set(modules) & {"text2vec-transformers", "text2vec-cohere"})
    if ours:
        yield ok("modules", ", ".join(ours))
    else:
        yield error(
            "modules",
            "Neither text2vec-transformers nor text2vec-cohere is on, so their collections are not loaded.",
            "Start the server with ENABLE_MODULES=text2vec-transformers and "
            "TRANSFORMERS_INFERENCE_API=http://HOST:8000",
        )
    if "text2vec-transformers" in modules:
        yield from _behind(modules["text2vec-transformers"], embedder)
    return set(modules)


def _behind(meta: Any, embedder: Embedder | None) -> Iterator[Diagnostic]:
    """What the server itself sees at TRANSFORMERS_INFERENCE_API: it passes that service's /meta on."""
    meta = meta if isinstance(meta, dict) else {}
    only = "Collections with an address of their own are not concerned."
    if "error" in meta:
        yield warning(
            "reached",
            f"The server can't reach TRANSFORMERS_INFERENCE_API: {meta['error']}. {only}",
            "Start lusifer serve there, and name a host that the server can reach: in a container localhost "
            "is the container.",
        )
    elif meta.get("name") != "lusifer":
        yield note(
            "reached", f"What answers at TRANSFORMERS_INFERENCE_API is no lusifer serve. {only}"
        )
    elif embedder is not None and meta.get("fingerprint") not in {None, embedder.fingerprint}:
        yield warning(
            "reached",
            f"TRANSFORMERS_INFERENCE_API serves {meta.get('model')} ({meta['fingerprint']}), the model here "
            f"is {embedder.model_name} ({embedder.fingerprint}). {only}",
            "Serve the same bundle that is used here.",
        )
    else:
        yield ok(
            "reached",
            f"the server reaches lusifer serve, {meta.get('model', 'which is still loading')}",
        )


def _service(url: str, embedder: Embedder | None, *, given: bool = True) -> Iterator[Diagnostic]:
    """Ask a service as Weaviate does at its start; what only the server may reach is no error."""
    import httpx

    from lusifer.embedding.remote import RemoteVectorizer

    host = urlsplit(url)
    shown = url.replace(f"{host.username}:{host.password}@", "") if host.username else url
    unreached = error if given else note
    started_s = time.monotonic()
    try:
        ready = httpx.get(f"{url}/.well-known/ready", timeout=_QUICK_S)
        if ready.status_code > 299:
            yield error(
                "ready",
                f"{shown} is not ready ({ready.status_code}): {ready.text[:200]}",
                "Wait until its model is loaded, or look into its log.",
            )
        else:
            yield ok("ready", f"{shown} said so in {time.monotonic() - started_s:.3f} s")
        started_s = time.monotonic()
        httpx.get(f"{url}/meta", timeout=10 * _QUICK_S)
        took_s = time.monotonic() - started_s
        if took_s > _QUICK_S:
            yield warning(
                "service meta",
                f"{shown}/meta took {took_s:.1f} s, and every client of Weaviate waits for it.",
                "Bring the service nearer to the server, or look into its log.",
            )
        with RemoteVectorizer(url, timeout_s=5, attempts=1) as service:
            if embedder is not None and service.fingerprint != embedder.fingerprint:
                yield error(
                    "service",
                    f"{shown} serves {service.model_name} ({service.fingerprint}), the model here is "
                    f"{embedder.model_name} ({embedder.fingerprint}).",
                    "Serve the same bundle that is used here.",
                )
            else:
                yield ok(
                    "service", f"{shown} serves {service.model_name}, dimension {service.dimension}"
                )
    except httpx.TimeoutException:
        yield unreached(
            "ready",
            f"{shown} did not answer within {_QUICK_S} s, all that Weaviate waits for it.",
            "Look at the load of the service's machine, and at what lies between.",
        )
    except httpx.TransportError as failed:
        yield unreached(
            "ready",
            f"{shown} can't be reached from here: {failed}",
            "Start lusifer serve there; if only the server reaches it, the question below tells.",
        )
    except UnauthorizedError:
        yield note(
            "service",
            f"{shown} asks for a key.",
            "The server must send one: http://any:KEY@HOST:8000 as the address, or COHERE_APIKEY.",
        )
    except EngineUnavailableError as failed:
        yield unreached("service", failed.message, failed.next_step)
    except LusiferError as failed:
        yield error("service", failed.message, failed.next_step)


def _address(metadata: CollectionMetadata, config: Any) -> str | None:
    """Where the collection's module asks, if its schema says so."""
    settings = config.vector_config[metadata.vector_name].vectorizer.model or {}
    address = (
        settings.get("inferenceUrl")
        or settings.get("passageInferenceUrl")
        or settings.get("baseURL")
    )
    return str(address).rstrip("/").removesuffix("/cohere") if address else None


def _schema(
    metadata: CollectionMetadata, config: Any, modules: set[str], embedder: Embedder | None
) -> Iterator[Diagnostic]:
    vectorizer = config.vector_config[metadata.vector_name].vectorizer
    module = module_of(config, metadata.vector_name)
    settings = vectorizer.model or {}
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
    if settings.get("vectorizeClassName"):
        yield warning(
            "class name",
            f"The collection's name stands before every text: {config.name!r}.",
            "Make the collection with vectorize_collection_name=False; it can't be changed later.",
        )
    if embedder is not None:
        try:
            metadata.check(fingerprint=embedder.fingerprint, model=embedder.model_name)
            yield ok("fingerprint", "the model here is the one that filled it")
        except LusiferError as failed:
            yield error("fingerprint", failed.message, failed.next_step)


def _objects(
    handle: Any, metadata: CollectionMetadata, config: Any, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    name = metadata.vector_name
    seen = without = 0
    texts: list[str] = []
    sample: Any = None
    try:
        with client_errors(config.name):
            total = handle.aggregate.over_all(total_count=True).total_count
            for each in handle.iterator(include_vector=[name]):
                seen += 1
                without += not each.vector.get(name)
                sample = sample or (each if each.vector.get(name) else None)
                if len(texts) < _READ:
                    texts.append(str(each.properties.get(metadata.text_property) or ""))
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
    yield from _words(metadata, config, texts)
    if sample is not None:
        yield from _sample(sample, metadata, config, embedder)


def _words(metadata: CollectionMetadata, config: Any, texts: Sequence[str]) -> Iterator[Diagnostic]:
    """Whether the keyword half of a hybrid search can find words in the scripts that are there."""
    found = next((each for each in config.properties if each.name == metadata.text_property), None)
    cut = str(getattr(found.tokenization, "value", found.tokenization)) if found else "word"
    if fits(cut, texts):
        yield ok("keywords", f"{metadata.text_property} is cut by {cut}")
        return
    yield warning(
        "keywords",
        f"{metadata.text_property} is cut by {cut}, which finds no words in these languages: the keyword half of "
        "a hybrid search is blind.",
        f"Make a new collection with --tokenization {advise_tokenization(texts)} (it can't be changed "
        "later), or search without keywords.",
    )


def _sample(
    sample: Any, metadata: CollectionMetadata, config: Any, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    properties = {key: value for key, value in sample.properties.items() if value is not None}
    rules = rules_of(metadata, config)
    text = compose_text(properties, rules)
    yield note("text", f"For object {sample.uuid} this is embedded: {text[:200]!r}")
    stored = sample.vector[metadata.vector_name]
    if len(stored) != metadata.dimension:
        yield error(
            "dimension",
            f"Vectors have {len(stored)} numbers, the metadata says {metadata.dimension}.",
            "Serve the model with the dimension it was set up with, and make the collection anew.",
        )
        return
    if embedder is None or not text or embedder.fingerprint != metadata.fingerprint:
        return
    if embedder.dimension != metadata.dimension:
        yield note("sample", f"Not compared: vectors made here have {embedder.dimension} numbers.")
        return
    cosine = float(embedder.embed_documents([text]).vectors[0] @ stored)
    if cosine > _SAME:
        yield ok("sample", f"its vector is the one made here from that text (cosine {cosine:.5f})")
        return
    advice = "It was made from another text or by another model: run lusifer index again."
    lowered = compose_text(properties, replace(rules, lower_case=True))
    if lowered != text and float(embedder.embed_documents([lowered]).vectors[0] @ stored) > _SAME:
        advice = (
            "The server runs with LOWERCASE_VECTORIZATION_INPUT: make the collection with --lower-case, or "
            "run the server without."
        )
    yield error(
        "sample",
        f"its vector is not the one made here from that text (cosine {cosine:.5f}).",
        advice,
    )


def _probe(
    handle: Any, metadata: CollectionMetadata, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    """A question through the server's module."""
    from weaviate.classes.query import MetadataQuery

    question = "How do I unpack an archive?"
    shown = MetadataQuery(distance=True)
    started_s = time.monotonic()
    try:
        with client_errors(handle.name):
            found = handle.query.near_text(
                question, limit=1, target_vector=metadata.vector_name, return_metadata=shown
            ).objects
            took_s = time.monotonic() - started_s
            here = (
                handle.query.near_vector(
                    embedder.embed_query(question).vector.tolist(),
                    limit=1,
                    target_vector=metadata.vector_name,
                    return_metadata=shown,
                ).objects
                if embedder and embedder.dimension == metadata.dimension
                else []
            )
    except LusiferError as failed:
        yield error(
            "inference", f"A question through the server failed. {failed.message}", failed.next_step
        )
        return
    if not found or not here:
        yield ok("inference", f"the server had a question embedded, in {took_s:.3f} s")
    elif abs(here[0].metadata.distance - found[0].metadata.distance) < 1e-4:
        yield ok(
            "inference",
            f"the server's vector of a question is the one made here, in {took_s:.3f} s",
        )
    else:
        yield error(
            "inference",
            "The server's vector of a question is another than the one made here: distances "
            f"{found[0].metadata.distance:.4f} and {here[0].metadata.distance:.4f}.",
            "Serve the same bundle that is used here; before Weaviate 1.31 questions get the document's "
            "prompt.",
        )
