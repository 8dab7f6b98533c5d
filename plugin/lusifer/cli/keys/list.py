"""``lusifer keys list``: shows the API keys of the service."""

from __future__ import annotations

import typer

from lusifer.cli import options
from lusifer.cli.common import Command, write_json

__all__ = ["COMMAND", "list_keys"]


def list_keys(file: options.KeysFile = options.DEFAULT_KEYS, as_json: options.Json = False) -> None:
    """Show the names and limits of all keys."""
    from lusifer.service.auth import read_keys

    keys = [key.model_dump(exclude={"salt", "sha256"}) for key in read_keys(file)]
    if as_json:
        write_json(keys)
        return
    for key in keys:
        limits = ", ".join(
            f"{field} {value}" for field, value in key.items() if value and field != "name"
        )
        typer.echo(f"{key['name']}  {limits}".rstrip())


COMMAND = Command(list_keys, ("lusifer keys list --json",))
