"""``lusifer qdrant``: collections made the right way."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lusifer.choices import Quantization
from lusifer.cli.common import BundleOption, JsonOption, guarded, write_json
from lusifer.cli.targets import GrpcOption, ServiceOption

if TYPE_CHECKING:
    from lusifer.qdrant.schema import CollectionCard

__all__ = ["qdrant_app"]

qdrant_app = typer.Typer(help="Collections of a Qdrant server.", no_args_is_help=True)

_EXAMPLES = (
    "lusifer qdrant setup http://localhost:6333 --collection articles",
    "lusifer qdrant setup http://localhost:6333 --collection articles --quantization turbo4 --keywords",
)


@qdrant_app.callback()
def _group() -> None:
    """Collections of a Qdrant server."""


@qdrant_app.command("setup", epilog="\n\n".join(("Examples:", *_EXAMPLES)))
@guarded
def setup(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server (key: QDRANT_API_KEY).")],
    collection: Annotated[str, typer.Option("--collection", metavar="NAME", help="Collection to make.")],
    alias: Annotated[
        str | None,
        typer.Option("--alias", help="Name that applications use; it can be switched to a later collection."),
    ] = None,
    quantization: Annotated[
        Quantization,
        typer.Option(
            "--quantization", help="How vectors are kept in memory; turbo4: an eighth (Qdrant 1.18)."
        ),
    ] = "none",
    keywords: Annotated[
        bool, typer.Option("--keywords", help="Keep keywords (BM25) too, for hybrid searches.")
    ] = False,
    keyword_language: Annotated[
        str | None,
        typer.Option(
            "--keyword-language",
            metavar="CODE",
            help="Stem keywords as in this one language (de, en, …); by default words are kept as they are.",
        ),
    ] = None,
    index_field: Annotated[
        list[str] | None,
        typer.Option("--index-field", metavar="FIELD", help="Metadata field to filter by (default: lang)."),
    ] = None,
    dimension: Annotated[
        int | None,
        typer.Option("--dimension", min=1, help="Length of the vectors (default: the model's)."),
    ] = None,
    service_address: Annotated[
        str,
        typer.Option("--service-address", metavar="URL", help="Where Qdrant reaches lusifer serve."),
    ] = "http://localhost:8000",
    grpc: GrpcOption = False,
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a collection for this model: named vector, dimension, distance, and the model's fingerprint.

    Then print the lines that let the server itself embed documents and questions.
    """
    from lusifer.qdrant.connection import connect, import_client, qdrant_errors
    from lusifer.qdrant.keywords import keyword_options
    from lusifer.qdrant.schema import create_collection

    chosen = keyword_options(keyword_language) if keywords or keyword_language else None
    card = _card(collection, bundle, service, dimension).model_copy(update={"keywords": chosen})
    client = connect(url, api_key=os.environ.get("QDRANT_API_KEY"), grpc=grpc)
    try:
        fields = ("lang",) if index_field is None else tuple(index_field)
        create_collection(client, card, quantization=quantization, index_fields=fields)
        if alias is not None:
            models = import_client().models
            switch = models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
            with qdrant_errors(collection):
                client.update_collection_aliases([switch])
    finally:
        client.close()
    environment = {
        "QDRANT__INFERENCE__ADDRESS": f"{service_address.rstrip('/')}/qdrant",
        "QDRANT__INFERENCE__TIMEOUT": "120",
    }
    if as_json:
        write_json({"collection": card.model_dump(mode="json"), "alias": alias, "environment": environment})
        return
    _show(card, alias, environment, url)


def _card(collection: str, bundle: Path | None, service: str | None, dimension: int | None) -> CollectionCard:
    """From the manifest alone where that is enough: loading the model would take seconds."""
    from lusifer.bundle import Bundle
    from lusifer.cli.targets import open_embedder
    from lusifer.defaults import default_bundle
    from lusifer.qdrant.schema import CollectionCard, card_of

    if service is not None or dimension is not None:
        with open_embedder(bundle, service, dimension=dimension) as embedder:
            return card_of(collection, embedder)
    manifest = Bundle.open(default_bundle() if bundle is None else bundle, verify=False).manifest
    return CollectionCard(
        collection=collection,
        fingerprint=manifest.fingerprint,
        model=manifest.name,
        dimension=manifest.dimension,
        role_prompts=manifest.role_prompts.model_dump(),
    )


def _show(card: CollectionCard, alias: str | None, environment: dict[str, Any], url: str) -> None:
    write = sys.stdout.write
    write(
        f"Made the collection {card.collection} for {card.model}: vector {card.vector_name!r} of "
        f"{card.dimension} numbers, Cosine{', with keywords' if card.keywords else ''}.\n"
    )
    if alias:
        write(f"The alias {alias} means it.\n")
    write("\nTo have Qdrant embed documents and questions by itself, start the server with\n\n")
    for name, value in environment.items():
        write(f"  {name}={value}\n")
    write(f"\nand write models.Document(text, model={f'lusifer/{card.model}'!r}).\n")
    write("To send vectors along instead:\n\n")
    write(f"  lusifer index FILE --qdrant {url} --collection {card.collection}\n")
