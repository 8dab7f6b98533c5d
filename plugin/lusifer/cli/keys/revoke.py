"""``lusifer keys revoke``: removes an API key of the service."""

from __future__ import annotations

from typing import Annotated

import typer

from lusifer.cli import options
from lusifer.cli.common import Command

__all__ = ["COMMAND", "revoke"]


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: options.KeysFile = options.DEFAULT_KEYS,
) -> None:
    """Remove a key; a running service refuses it a second later.

    Options:
        name: Owner of the key.
    """
    from lusifer.service.auth import revoke_key

    revoke_key(file, name)
    typer.echo(f"{name} is revoked.")


COMMAND = Command(revoke, ("lusifer keys revoke indexer",))
