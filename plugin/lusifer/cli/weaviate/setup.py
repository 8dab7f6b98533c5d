"""``lusifer weaviate setup``: creates a collection that a Weaviate server embeds with LUSIFER."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.embedders import open_embedder
from lusifer.errors import InvalidInputError
from lusifer.types import Route, WeaviateQuantizer, WeaviateTokenization

if TYPE_CHECKING:
    from weaviate.classes.config import Property

__all__ = ["COMMAND", "setup"]


def setup(
    url: options.WeaviateUrl,
    collection: options.NewCollection,
    alias: options.Alias = None,
    dimension: options.Dimension = None,
    service_address: Annotated[str, typer.Option(metavar="URL")] = options.DEFAULT_SERVICE,
    route: Annotated[Route, typer.Option(metavar="MODULE")] = "transformers",
    text_property: Annotated[str, typer.Option(metavar="NAME")] = "text",
    properties: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME[:TYPE]")
    ] = None,
    sources: Annotated[list[str] | None, typer.Option("--source", metavar="NAME")] = None,
    filter_fields: Annotated[
        list[str] | None, typer.Option("--filter-field", metavar="NAME")
    ] = None,
    tokenization: Annotated[WeaviateTokenization, typer.Option(metavar="NAME")] = "word",
    quantizer: Annotated[WeaviateQuantizer, typer.Option(metavar="METHOD")] = "none",
    lower_case: Annotated[bool, typer.Option("--lower-case")] = False,
    tenants: Annotated[bool, typer.Option("--tenants")] = False,
    bundle: options.Bundle = None,
    service: options.Service = None,
    as_json: options.Json = False,
) -> None:
    """Create a collection whose documents and queries Weaviate embeds with lusifer serve.

    The output then shows the settings that the server needs in its environment.

    Options:
        service_address: Address at which Weaviate reaches lusifer serve.
        route: Weaviate's module: transformers (needs no key) or cohere (sends 96 texts a request).
        text_property: Property to which lusifer index writes a document's text.
        properties: Another property (text, int, number, bool, date). May be given several times.
        sources: Property to embed (default: only the text property). May be given several times.
        filter_fields: Text property that filters compare as a whole (default: lang). May be given
            several times.
        tokenization: How hybrid search splits texts into words: word, whitespace, lowercase or
            field for languages with spaces; gse or gse_ch for Chinese; kagome_ja; kagome_kr (for
            these four the server needs ENABLE_TOKENIZER_GSE=true and so on); trigram for Thai and
            for several languages.
        quantizer: Compression of the vectors in memory: none, rq, sq, bq or pq.
        lower_case: The server runs with LOWERCASE_VECTORIZATION_INPUT.
        tenants: Store the objects of each tenant separately.
    """
    from lusifer.weaviate.connection import client_errors, connect_by_environment
    from lusifer.weaviate.metadata import metadata_for
    from lusifer.weaviate.schema import create_collection, version_warnings

    parsed = [_property(each) for each in properties or []]
    with open_embedder(bundle, service, dimension=dimension) as embedder:
        metadata = metadata_for(
            collection, embedder, text_property=text_property, lower_case=lower_case
        )
    with connect_by_environment(url) as client:
        with client_errors(collection):
            warnings = version_warnings(str(client.get_meta().get("version", "0")))
        create_collection(
            client,
            metadata,
            service_url=service_address,
            route=route,
            source_properties=sources,
            properties=parsed,
            filter_fields=("lang",) if filter_fields is None else tuple(filter_fields),
            quantizer=quantizer,
            tokenization=tokenization,
            tenants=tenants,
            dimensions=dimension,
            alias=alias,
        )
    environment = {"ENABLE_MODULES": f"text2vec-{route}"}
    if route == "transformers":
        environment["TRANSFORMERS_INFERENCE_API"] = service_address.rstrip("/")
    else:
        environment["COHERE_APIKEY"] = "any, or a key of lusifer keys add"
    if as_json:
        write_json(
            {
                "collection": collection,
                "card": metadata.model_dump(mode="json"),
                "alias": alias,
                "environment": environment,
                "warnings": warnings,
            }
        )
        return
    write = show
    write(f"Created the collection {collection} for {metadata.model}. It embeds")
    write(f" {', '.join(sources or [text_property])}.\n")
    for each in warnings:
        write(f"WARNING  {each}\n")
    write("\nThe server needs these lines in its environment:\n\n")
    for name, value in environment.items():
        write(f"  {name}={value}\n")
    write("\nFor the fastest ingest, with vectors made by this machine:\n\n")
    write(f"  lusifer index FILE --weaviate {url} --collection {collection}\n")


COMMAND = Command(
    setup,
    (
        "lusifer weaviate setup http://localhost:8080 --collection Articles",
        "lusifer weaviate setup http://localhost:8080 --collection Articles --text-property body "
        "--property title --property year:int --source title --source body",
    ),
)


def _property(given: str) -> Property:
    from lusifer.weaviate.connection import import_client

    import_client()
    from weaviate.classes.config import DataType, Property

    name, _, kind = given.partition(":")
    value = {"bool": "boolean"}.get(kind, kind or "text")
    types = [each for each in DataType if each.value == value]
    if not types or not name:
        raise InvalidInputError(
            f"--property {given!r} is no property.",
            next_step="Write NAME or NAME:TYPE, with text, int, number, bool, date or text[].",
        )
    return Property(name=name, data_type=types[0])
