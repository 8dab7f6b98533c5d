"""``lusifer qdrant``: collections made the right way, on a server or in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.cli.common import (
    BundleOption,
    DimensionOption,
    JsonOption,
    epilog_of,
    guarded,
    read_manifest,
    write_json,
)
from lusifer.cli.store_options import GrpcOption, ServiceOption, connected, open_embedder
from lusifer.errors import CollectionMismatchError, InvalidInputError
from lusifer.types import Quantization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.stores.base import Store

__all__ = ["qdrant_app"]

qdrant_app = typer.Typer(
    help="Collections of a Qdrant server, or of a folder.", no_args_is_help=True
)

_SETUP_EXAMPLES = (
    "lusifer qdrant setup http://localhost:6333 --collection articles",
    "lusifer qdrant setup http://localhost:6333 --collection articles --quantization turbo4 --keywords",
    "lusifer qdrant setup --index ./database --collection articles-1 --alias articles",
)
_ALIAS_EXAMPLES = (
    "lusifer qdrant alias http://localhost:6333 --alias articles --collection articles-2",
    "lusifer qdrant alias --index ./database --alias articles --collection articles-2",
)

_UrlArgument = Annotated[
    str | None,
    typer.Argument(metavar="URL", help="The server (key: QDRANT_API_KEY).", show_default=False),
]
_IndexOption = Annotated[
    Path | None,
    typer.Option("--index", metavar="DIR", help="A folder of collections instead of a server."),
]


@qdrant_app.callback()
def _group() -> None:
    """Collections of a Qdrant server, or of a folder."""


@qdrant_app.command("setup", epilog=epilog_of(*_SETUP_EXAMPLES))
@guarded
def setup(
    collection: Annotated[
        str, typer.Option("--collection", metavar="NAME", help="Collection to make.")
    ],
    url: _UrlArgument = None,
    index_path: _IndexOption = None,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", help="Name that applications use; it can be switched to a later collection."
        ),
    ] = None,
    quantization: Annotated[
        Quantization,
        typer.Option(
            "--quantization",
            help="How vectors are kept in memory; turbo4: an eighth (Qdrant 1.18).",
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
        typer.Option(
            "--index-field", metavar="FIELD", help="Metadata field to filter by (default: lang)."
        ),
    ] = None,
    dimension: DimensionOption = None,
    service_address: Annotated[
        str,
        typer.Option(
            "--service-address", metavar="URL", help="Where Qdrant reaches lusifer serve."
        ),
    ] = "http://localhost:8000",
    grpc: GrpcOption = False,
    bundle: BundleOption = None,
    service: ServiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a collection for this model: named vector, dimension, distance, and the model's fingerprint.

    Then print the lines that let the server itself embed documents and questions.
    """
    from lusifer.qdrant.keywords import keyword_options

    _check_place(url, index_path)
    chosen = keyword_options(keyword_language) if keywords or keyword_language else None
    card = _card(collection, bundle, service, dimension).model_copy(update={"keywords": chosen})
    environment: dict[str, str] = {}
    if index_path is not None:
        _make_in_folder(index_path, card, alias, quantization)
    else:
        fields = ("lang",) if index_field is None else tuple(index_field)
        _make_on_server(url or "", card, alias, quantization, fields, grpc=grpc)
        environment = {
            "QDRANT__INFERENCE__ADDRESS": f"{service_address.rstrip('/')}/qdrant",
            "QDRANT__INFERENCE__TIMEOUT": "120",
        }
    if as_json:
        write_json(
            {"collection": card.model_dump(mode="json"), "alias": alias, "environment": environment}
        )
        return
    _show(card, alias, environment, f"--qdrant {url}" if url else f"--index {index_path}")


@qdrant_app.command("alias", epilog=epilog_of(*_ALIAS_EXAMPLES))
@guarded
def alias(
    alias: Annotated[str, typer.Option("--alias", help="Name that applications use.")],
    collection: Annotated[
        str, typer.Option("--collection", metavar="NAME", help="Collection it means from now on.")
    ],
    url: _UrlArgument = None,
    index_path: _IndexOption = None,
    grpc: GrpcOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let an alias mean a collection, at one stroke: a search sees the old one or the new one.

    A collection that is empty or has points without a vector is refused.
    """
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.qdrant.metadata import find_metadata
    from lusifer.qdrant.schema import set_alias
    from lusifer.qdrant.store import QdrantStore

    _check_place(url, index_path)
    if index_path is not None:
        collections = EmbeddedCollections(index_path)
        with collections.open(collection) as store:
            _check_complete(store, collection)
        collections.set_alias(alias, collection)
    else:
        with connected(url or "", grpc=grpc) as client:
            metadata, _ = find_metadata(client, collection)
            _check_complete(QdrantStore(client, metadata), collection)
            set_alias(client, alias, collection)
    if as_json:
        write_json({"alias": alias, "collection": collection})
    else:
        sys.stdout.write(f"The alias {alias} means {collection}.\n")


def _check_place(url: str | None, index_path: Path | None) -> None:
    if (url is None) == (index_path is None):
        raise InvalidInputError(
            "Where is the collection?" if url is None else "Both a server and a folder are named.",
            next_step="Name a server by its URL, or a folder with --index.",
        )


def _check_complete(store: Store, collection: str) -> None:
    documents, lacking = store.count(), store.count_without_vector()
    if not documents or lacking:
        raise CollectionMismatchError(
            f"{lacking:,} of the {documents:,} documents of {collection} lack a vector."
            if documents
            else f"The collection {collection} is empty.",
            next_step="Index its documents first.",
        )


def _make_on_server(
    url: str,
    card: CollectionMetadata,
    alias: str | None,
    quantization: Quantization,
    index_fields: Sequence[str],
    *,
    grpc: bool,
) -> None:
    from lusifer.qdrant.schema import aliases, create_collection, refuse_used_alias, set_alias

    with connected(url, grpc=grpc) as client:
        if alias is not None:
            refuse_used_alias(alias, aliases(client))
        create_collection(client, card, quantization=quantization, index_fields=index_fields)
        if alias is not None:
            set_alias(client, alias, card.collection)


def _make_in_folder(
    path: Path, card: CollectionMetadata, alias: str | None, quantization: Quantization
) -> None:
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.qdrant.schema import refuse_used_alias

    collections = EmbeddedCollections(path)
    if alias is not None:
        refuse_used_alias(alias, collections.aliases())
    collections.create(
        card.collection,
        fingerprint=card.fingerprint,
        dimension=card.dimension,
        model=card.model,
        keywords=card.keywords,
        quantization=quantization,
    ).close()
    if alias is not None:
        collections.set_alias(alias, card.collection)


def _card(
    collection: str, bundle: Path | None, service: str | None, dimension: int | None
) -> CollectionMetadata:
    """From the manifest alone where that is enough: loading the model would take seconds."""
    from lusifer.qdrant.metadata import CollectionMetadata, metadata_for

    if service is not None or dimension is not None:
        with open_embedder(bundle, service, dimension=dimension) as embedder:
            return metadata_for(collection, embedder)
    manifest = read_manifest(bundle)
    return CollectionMetadata(
        collection=collection,
        fingerprint=manifest.fingerprint,
        model=manifest.name,
        dimension=manifest.dimension,
        role_prompts=manifest.role_prompts.model_dump(),
    )


def _show(
    card: CollectionMetadata, alias: str | None, environment: dict[str, str], place: str
) -> None:
    write = sys.stdout.write
    write(
        f"Made the collection {card.collection} for {card.model}: vector {card.vector_name!r} of "
        f"{card.dimension} numbers, Cosine{', with keywords' if card.keywords else ''}.\n"
    )
    if alias:
        write(f"The alias {alias} means it.\n")
    if environment:
        write("\nTo have Qdrant embed documents and questions by itself, start the server with\n\n")
        for name, value in environment.items():
            write(f"  {name}={value}\n")
        write("  QDRANT__INFERENCE__TOKEN=KEY    (only where lusifer serve asks for a key)\n")
        write(f"\nand write models.Document(text, model={f'lusifer/{card.model}'!r}).\n")
        write("To send vectors along instead:\n")
    write(f"\n  lusifer index FILE {place} --collection {card.collection}\n")
