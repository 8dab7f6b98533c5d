"""``lusifer serve`` and ``lusifer keys``: the vectorizer service and its API keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperOption

from lusifer.cli.common import JsonOption, guarded, write_json
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

    # typer 0.29 has its own copy of click, and exports neither class.
    from typer._click import Context, Parameter

    from lusifer.service.settings import Settings

__all__ = ["EXAMPLES", "ServeCommand", "keys_app", "serve"]

EXAMPLES = (
    "lusifer serve",
    "lusifer serve --engine auto",
    "lusifer serve --host 0.0.0.0 --port 8000 --api-keys-file keys.toml",
    "TRANSFORMERS_INFERENCE_API=http://localhost:8000 weaviate ...",
    "QDRANT__INFERENCE__ADDRESS=http://localhost:8000/qdrant qdrant",
)

_DEFAULT_KEYS = Path("lusifer-keys.toml")


class ServeCommand(TyperCommand):
    """The command ``serve``, with the help of its settings from the class Settings.

    The class is imported when the command's help or its options are read, not for
    ``lusifer --help``.
    """

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return the options, each setting with the description and default of the class."""
        from lusifer.service.settings import settings_help

        settings = settings_help()
        parameters = super().get_params(ctx)
        for parameter in parameters:
            setting = settings.get(parameter.name or "")
            if setting is not None and isinstance(parameter, TyperOption):
                default = f" Default: {setting.default}." if setting.default else ""
                parameter.help = setting.description + default
        return parameters


def serve(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="TOML file with any of the settings."),
    ] = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    bundle: Annotated[Path | None, typer.Option(metavar="DIR")] = None,
    engine: Annotated[str | None, typer.Option()] = None,
    triton_url: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    threads: Annotated[int | None, typer.Option()] = None,
    long_text: Annotated[str | None, typer.Option()] = None,
    batch_tokens: Annotated[int | None, typer.Option()] = None,
    queue_tokens: Annotated[int | None, typer.Option()] = None,
    cache: Annotated[str | None, typer.Option()] = None,
    api_keys_file: Annotated[Path | None, typer.Option(metavar="FILE")] = None,
    canary: Annotated[bool | None, typer.Option("--canary/--no-canary")] = None,
    log_format: Annotated[str | None, typer.Option()] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check settings, bundle and keys, and end.")
    ] = False,
) -> None:
    """Embed for Weaviate, Qdrant and the clients of Cohere, OpenAI and TEI over HTTP.

    Every setting can also stand in the environment (LUSIFER_SERVE_PORT=9000) or in a TOML file
    (port = 9000). A flag comes before the environment, the environment before the file. The
    settings without a flag below are flags too: --deadline-s 60.

    The page at / shows what is served, how to connect each database, the load, and a playground.
    """
    flags = {
        "host": host,
        "port": port,
        "bundle": bundle,
        "engine": engine,
        "triton_url": triton_url,
        "threads": threads,
        "long_text": long_text,
        "batch_tokens": batch_tokens,
        "queue_tokens": queue_tokens,
        "cache": cache,
        "api_keys_file": api_keys_file,
        "canary": canary,
        "log_format": log_format,
        **_other_settings(context.args),
    }
    try:
        from lusifer.service.server import check_settings, run
        from lusifer.service.settings import load_settings
    except ImportError as error:
        raise MissingExtraError(
            f"lusifer serve can't start: {error}.", next_step="Run pip install 'lusifer[serve]'."
        ) from error
    settings: Settings = load_settings(flags, os.environ, config)
    if check:
        typer.echo(check_settings(settings))
        return
    run(settings)


def _other_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Settings by name out of ``--deadline-s 60`` and ``--deadline-s=60``; unknown ones are seen later."""
    settings: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--"):
            raise typer.BadParameter(f"{argument!r} belongs to no flag.")
        given = value if equals else next(rest, None)
        if given is None:
            raise typer.BadParameter(f"{flag} needs a value.")
        settings[flag.removeprefix("--").replace("-", "_")] = given
    return settings


keys_app = typer.Typer(
    help="Make, list and revoke API keys of the service.",
    no_args_is_help=True,
    add_completion=False,
)
FileOption = Annotated[Path, typer.Option("--file", metavar="FILE", help="The keys file.")]


@keys_app.command("add", epilog="Example: lusifer keys add indexer --tokens-per-minute 60000")
@guarded
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is; seen in logs and errors.")],
    file: FileOption = _DEFAULT_KEYS,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Tokens the key may embed a minute.")
    ] = None,
    maximum_texts: Annotated[
        int | None, typer.Option(help="Texts in one request with this key.")
    ] = None,
) -> None:
    """Draw a key, print it once, and store its salted hash."""
    from lusifer.service.auth import add_key

    typer.echo(
        add_key(file, name, tokens_per_minute=tokens_per_minute, maximum_texts=maximum_texts)
    )


@keys_app.command("list", epilog="Example: lusifer keys list --json")
@guarded
def list_keys(file: FileOption = _DEFAULT_KEYS, as_json: JsonOption = False) -> None:
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


@keys_app.command("revoke", epilog="Example: lusifer keys revoke indexer")
@guarded
def revoke(
    name: Annotated[str, typer.Argument(help="Whose key.")], file: FileOption = _DEFAULT_KEYS
) -> None:
    """Remove a key; a running service stops taking it within a second."""
    from lusifer.service.auth import revoke_key

    revoke_key(file, name)
    typer.echo(f"{name} is revoked.")
