"""``lusifer qdrant setup``: creates a collection for a model, on a server or in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.bundle.names import exact_name
from lusifer.cli import options
from lusifer.cli.common import Command, show, write_json
from lusifer.cli.embedders import open_embedder, read_manifest
from lusifer.cli.store_options import check_one_place, connected
from lusifer.types import Quantization

if TYPE_CHECKING:
    from lusifer.qdrant.metadata import CollectionMetadata

__all__ = ["COMMAND", "setup"]


def setup(
    collection: options.NewCollection,
    url: options.OptionalQdrantUrl = None,
    index_path: options.CollectionsFolder = None,
    alias: options.Alias = None,
    quantization: Annotated[Quantization, typer.Option(metavar="METHOD")] = "none",
    keywords: Annotated[bool, typer.Option("--keywords")] = False,
    keyword_language: options.KeywordLanguage = None,
    index_field: Annotated[list[str] | None, typer.Option(metavar="FIELD")] = None,
    dimension: options.Dimension = None,
    service_address: Annotated[str, typer.Option(metavar="URL")] = options.DEFAULT_SERVICE,
    grpc: options.Grpc = False,
    bundle: options.Bundle = None,
    service: options.Service = None,
    as_json: options.Json = False,
) -> None:
    """Create a collection for this model: named vector, dimension, distance, fingerprint.

    The output then shows the settings with which the server itself embeds documents and queries.

    Options:
        quantization: Compression of the vectors in memory: none, turbo4 (an eighth; Qdrant 1.18),
            turbo2, scalar or binary.
        keywords: Store keywords (BM25) too, for hybrid searches.
        index_field: Metadata field that searches filter by (default: lang). May be given several
            times.
        service_address: Address at which Qdrant reaches lusifer serve.
    """
    from lusifer.qdrant.keywords import keyword_options

    check_one_place(url, index_path)
    chosen = keyword_options(keyword_language) if keywords or keyword_language else None
    metadata = _metadata(collection, bundle, service, dimension).model_copy(
        update={"keywords": chosen}
    )
    environment: dict[str, str] = {}
    if index_path is not None:
        _create_in_folder(index_path, metadata, alias, quantization)
    else:
        fields = ("lang",) if index_field is None else tuple(index_field)
        _create_on_server(url or "", metadata, alias, quantization, fields, grpc=grpc)
        environment = {
            "QDRANT__INFERENCE__ADDRESS": f"{service_address.rstrip('/')}/qdrant",
            "QDRANT__INFERENCE__TIMEOUT": "120",
        }
    if as_json:
        write_json(
            {
                "collection": metadata.model_dump(mode="json"),
                "alias": alias,
                "environment": environment,
            }
        )
        return
    _show(metadata, alias, environment, f"--qdrant {url}" if url else f"--index {index_path}")


COMMAND = Command(
    setup,
    (
        "lusifer qdrant setup http://localhost:6333 --collection articles",
        "lusifer qdrant setup http://localhost:6333 --collection articles --keywords",
        "lusifer qdrant setup http://db:6333 --collection news --quantization turbo4",
        "lusifer qdrant setup --index ./database --collection news-1 --alias news",
    ),
)


def _metadata(
    collection: str, bundle: Path | None, service: str | None, dimension: int | None
) -> CollectionMetadata:
    """Return the metadata, from the manifest alone if possible: loading a model takes seconds."""
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


def _create_on_server(
    url: str,
    metadata: CollectionMetadata,
    alias: str | None,
    quantization: Quantization,
    index_fields: tuple[str, ...],
    *,
    grpc: bool,
) -> None:
    from lusifer.qdrant.schema import aliases, create_collection, refuse_used_alias, set_alias

    with connected(url, grpc=grpc) as client:
        if alias is not None:
            refuse_used_alias(alias, aliases(client))
        create_collection(client, metadata, quantization=quantization, index_fields=index_fields)
        if alias is not None:
            set_alias(client, alias, metadata.collection)


def _create_in_folder(
    path: Path, metadata: CollectionMetadata, alias: str | None, quantization: Quantization
) -> None:
    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.qdrant.schema import refuse_used_alias

    collections = EmbeddedCollections(path)
    if alias is not None:
        refuse_used_alias(alias, collections.aliases())
    collections.create(
        metadata.collection,
        fingerprint=metadata.fingerprint,
        dimension=metadata.dimension,
        model=metadata.model,
        keywords=metadata.keywords,
        quantization=quantization,
    ).close()
    if alias is not None:
        collections.set_alias(alias, metadata.collection)


def _show(
    metadata: CollectionMetadata, alias: str | None, environment: dict[str, str], place: str
) -> None:
    write = show
    write(
        f"Created the collection {metadata.collection} for {metadata.model}: vector "
        f"{metadata.vector_name!r} of dimension {metadata.dimension}, Cosine"
        f"{', with keywords' if metadata.keywords else ''}.\n"
    )
    if alias:
        write(f"The alias {alias} points to it.\n")
    if environment:
        write("\nTo let Qdrant itself embed documents and queries, start the server with\n\n")
        for name, value in environment.items():
            write(f"  {name}={value}\n")
        write("  QDRANT__INFERENCE__TOKEN=KEY    (only if lusifer serve asks for a key)\n")
        model = exact_name(metadata.model, metadata.fingerprint)
        write(f"\nand write models.Document(text, model={model!r}).\n")
        write("To send vectors instead:\n")
    write(f"\n  lusifer index FILE {place} --collection {metadata.collection}\n")
