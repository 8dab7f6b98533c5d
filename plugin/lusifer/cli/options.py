"""Options and arguments that several commands share.

Commands use them by module, as in ``bundle: options.Bundle = None``. Choices are part of the help
text, not of the column of values: on a terminal of 80 columns, a wide column leaves no room for the
text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer.types import LongTextPolicy

__all__ = [
    "DEFAULT_INDEX",
    "DEFAULT_KEYS",
    "DEFAULT_SERVICE",
    "Alias",
    "Bundle",
    "Collection",
    "CollectionsFolder",
    "Dimension",
    "Grpc",
    "Index",
    "Json",
    "KeysFile",
    "KeywordLanguage",
    "LongText",
    "NewCollection",
    "OptionalQdrantUrl",
    "Qdrant",
    "QdrantUrl",
    "ServerCollection",
    "Service",
    "Tenant",
    "Weaviate",
    "WeaviateUrl",
]

DEFAULT_INDEX = Path("lusifer-index")
DEFAULT_KEYS = Path("lusifer-keys.toml")
DEFAULT_SERVICE = "http://localhost:8000"

Bundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        help="Folder of the model's bundle (default: the default model, built on first use).",
    ),
]
Dimension = Annotated[
    int | None,
    typer.Option(
        "--dimension",
        metavar="N",
        min=1,
        help="Length of the vectors (default: the model's).",
    ),
]
LongText = Annotated[
    LongTextPolicy,
    typer.Option(
        "--long-text",
        metavar="POLICY",
        help="Texts over the token limit: truncate, mean_of_windows or error.",
    ),
]
Service = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="URL",
        help="A lusifer serve that embeds instead of this process (key: LUSIFER_API_KEY).",
    ),
]
CheckedService = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="URL",
        help="Address of the lusifer serve to check (key: LUSIFER_API_KEY).",
    ),
]
Template = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="TEXT",
        help=r"Text made of several fields, such as {title}\n{body}.",
    ),
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="FIELD", help="Field to leave out; may be given several times."),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename", metavar="OLD=NEW", help="Field to rename; may be given several times."
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON for machines.",
    ),
]

Index = Annotated[
    Path,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Folder of the index.",
    ),
]
Qdrant = Annotated[
    str | None,
    typer.Option(
        "--qdrant",
        metavar="URL",
        help="A Qdrant server, such as http://localhost:6333 (key: QDRANT_API_KEY).",
    ),
]
Weaviate = Annotated[
    str | None,
    typer.Option(
        "--weaviate",
        metavar="URL",
        help="A Weaviate server, such as http://localhost:8080 (key: WEAVIATE_API_KEY).",
    ),
]
QdrantUrl = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Address of the Qdrant server (key: QDRANT_API_KEY).",
    ),
]
OptionalQdrantUrl = Annotated[
    str | None,
    typer.Argument(
        metavar="URL",
        help="Address of the Qdrant server (key: QDRANT_API_KEY).",
        show_default=False,
    ),
]
CollectionsFolder = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Folder of collections, instead of a server.",
    ),
]
WeaviateUrl = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Address of the Weaviate server (key: WEAVIATE_API_KEY).",
    ),
]
Grpc = Annotated[
    bool,
    typer.Option(
        "--grpc",
        help="Use gRPC to talk to Qdrant, on port 6334 or QDRANT_GRPC_PORT.",
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="Collection or alias, on a server or within --index.",
    ),
]
ServerCollection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="Collection or alias to check.",
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        help="Tenant of a Weaviate collection.",
    ),
]

NewCollection = Annotated[
    str,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="Name of the new collection.",
    ),
]
Alias = Annotated[
    str | None,
    typer.Option(
        "--alias",
        metavar="NAME",
        help="Name that applications use; it can be moved to a later collection.",
    ),
]
KeywordLanguage = Annotated[
    str | None,
    typer.Option(
        "--keyword-language",
        metavar="CODE",
        help="Language of stemmed keywords (de, en, …). Without it, words are kept as they are.",
    ),
]

KeysFile = Annotated[
    Path,
    typer.Option(
        "--file",
        metavar="FILE",
        help="File with the API keys of the service.",
    ),
]
