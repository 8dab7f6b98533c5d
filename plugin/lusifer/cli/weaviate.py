"""``lusifer weaviate``: collections that embed with LUSIFER."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lusifer.cli.common import (
    BundleOption,
    DimensionOption,
    JsonOption,
    epilog_of,
    guarded,
    write_json,
)
from lusifer.cli.store_options import ServiceOption
from lusifer.errors import InvalidInputError
from lusifer.types import Route, WeaviateQuantizer, WeaviateTokenization

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["weaviate_app"]

weaviate_app = typer.Typer(help="Collections of a Weaviate server.", no_args_is_help=True)

_EXAMPLES = (
    "lusifer weaviate setup http://localhost:8080 --collection Articles --service-address "
    "http://localhost:8000",
    "lusifer weaviate setup http://localhost:8080 --collection Articles --text-property body --property "
    "title "
    "--property year:int --source title --source body",
)


@weaviate_app.callback()
def _group() -> None:
    """Collections of a Weaviate server."""


@weaviate_app.command("setup", epilog=epilog_of(*_EXAMPLES))
@guarded
def setup(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server (key: WEAVIATE_API_KEY).")],
    collection: Annotated[
        str, typer.Option("--collection", metavar="NAME", help="Collection to make.")
    ],
    service_address: Annotated[
        str,
        typer.Option(
            "--service-address", metavar="URL", help="Where Weaviate reaches lusifer serve."
        ),
    ] = "http://localhost:8000",
    route: Annotated[
        Route,
        typer.Option(
            "--route", help="Module: transformers needs no key, cohere sends 96 texts a request."
        ),
    ] = "transformers",
    text_property: Annotated[
        str, typer.Option("--text-property", help="Where lusifer index puts a document's text.")
    ] = "text",
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME[:TYPE]",
            help="Another property (text, int, number, bool, date).",
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Property to embed; by default the text property alone.",
        ),
    ] = None,
    filter_fields: Annotated[
        list[str] | None,
        typer.Option(
            "--filter-field", metavar="NAME", help="Text property compared whole (default: lang)."
        ),
    ] = None,
    tokenization: Annotated[
        WeaviateTokenization,
        typer.Option(
            "--tokenization",
            help="How texts are cut for hybrid search: word where spaces part them; gse for Chinese, "
            "kagome_ja, kagome_kr (the server needs ENABLE_TOKENIZER_GSE=true and so on); trigram for Thai "
            "and for mixtures.",
        ),
    ] = "word",
    quantizer: Annotated[
        WeaviateQuantizer, typer.Option("--quantizer", help="How vectors are kept in memory.")
    ] = "none",
    lower_case: Annotated[
        bool,
        typer.Option("--lower-case", help="The server runs with LOWERCASE_VECTORIZATION_INPUT."),
    ] = False,
    tenants: Annotated[
        bool, typer.Option("--tenants", help="Keep each tenant's objects apart.")
    ] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", help="Name that applications use; it can be switched to a later collection."
        ),
    ] = None,
    dimension: DimensionOption = None,
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a collection whose documents and questions Weaviate has embedded by lusifer serve.

    Then print the lines that the server needs in its environment.
    """
    from lusifer.cli.store_options import open_embedder
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
    environment = {
        "ENABLE_MODULES": f"text2vec-{route}",
        **(
            {"TRANSFORMERS_INFERENCE_API": service_address.rstrip("/")}
            if route == "transformers"
            else {}
        ),
        **({"COHERE_APIKEY": "any, or a key of lusifer keys add"} if route == "cohere" else {}),
    }
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
    write = sys.stdout.write
    write(f"Made the collection {collection} for {metadata.model}; it embeds")
    write(f" {', '.join(sources or [text_property])}.\n")
    for each in warnings:
        write(f"WARNING  {each}\n")
    write("\nThe server needs these lines in its environment:\n\n")
    for name, value in environment.items():
        write(f"  {name}={value}\n")
    write("\nFastest ingest, with vectors made here:\n\n")
    write(f"  lusifer index FILE --weaviate {url} --collection {collection}\n")


def _property(given: str) -> Any:
    from lusifer.weaviate.connection import import_client

    import_client()
    from weaviate.classes.config import DataType, Property

    name, _, kind = given.partition(":")
    value = {"bool": "boolean"}.get(kind, kind or "text")
    types: Sequence[Any] = [each for each in DataType if each.value == value]
    if not types or not name:
        raise InvalidInputError(
            f"--property {given!r} is no property.",
            next_step="Write NAME or NAME:TYPE, with text, int, number, bool, date or text[].",
        )
    return Property(name=name, data_type=types[0])
