"""``lusifer keys add``: makes an API key of the service."""

from __future__ import annotations

from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command

__all__ = ["COMMAND", "add"]


def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: options.KeysFile = options.DEFAULT_KEYS,
    tokens_per_minute: Annotated[int | None, typer.Option(metavar="N")] = None,
    maximum_texts: Annotated[int | None, typer.Option(metavar="N")] = None,
) -> None:
    """Draw a key, print it once, and store its salted hash.

    Options:
        name: Owner of the key, named in logs and errors.
        tokens_per_minute: Most tokens that the key may embed a minute.
        maximum_texts: Most texts in one request with the key.
    """
    from lusifer.service.auth import add_key

    typer.echo(
        add_key(file, name, tokens_per_minute=tokens_per_minute, maximum_texts=maximum_texts)
    )


COMMAND = Command(add, ("lusifer keys add indexer --tokens-per-minute 60000",))
