"""``lusifer serve``: runs the vectorizer service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperOption

from lusifer.cli.common import Command, DocumentedCommand, show
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

    # typer 0.29 has its own copy of click, and exports neither class.
    from typer._click import Context, Parameter

    from lusifer.service.settings import Settings

__all__ = ["COMMAND", "serve"]


class ServeCommand(DocumentedCommand):
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
    config: Annotated[Path | None, typer.Option(metavar="FILE")] = None,
    host: Annotated[str | None, typer.Option(metavar="HOST")] = None,
    port: Annotated[int | None, typer.Option(metavar="N")] = None,
    bundle: Annotated[Path | None, typer.Option(metavar="DIR")] = None,
    canary: Annotated[bool | None, typer.Option("--canary/--no-canary")] = None,
    engine: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    triton_url: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N")] = None,
    long_text: Annotated[str | None, typer.Option(metavar="POLICY")] = None,
    batch_tokens: Annotated[int | None, typer.Option(metavar="N")] = None,
    queue_tokens: Annotated[int | None, typer.Option(metavar="N")] = None,
    cache: Annotated[str | None, typer.Option(metavar="PLACE")] = None,
    api_keys_file: Annotated[Path | None, typer.Option(metavar="FILE")] = None,
    open: Annotated[bool | None, typer.Option("--open/--no-open")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT")] = None,
    check: Annotated[bool, typer.Option("--check")] = False,
) -> None:
    """Embed for Weaviate, Qdrant and the clients of Cohere, OpenAI and TEI over HTTP.

    Every setting can also be given in the environment (LUSIFER_SERVE_PORT=9000) or in a TOML file
    (port = 9000). A flag comes before the environment, the environment before the file. The
    settings that are not listed below are flags too: --deadline-s 60.

    The page at / shows what is served, how to connect each database, the load, and a playground.

    Options:
        config: TOML file with any of the settings.
        check: Check settings, bundle and keys, and end.
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
        "open": open,
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
        show(f"{check_settings(settings)}\n")
        return
    run(settings)


COMMAND = Command(
    serve,
    (
        "lusifer serve",
        "lusifer serve --engine auto",
        "lusifer serve --host 0.0.0.0 --port 8000 --api-keys-file keys.toml",
        "TRANSFORMERS_INFERENCE_API=http://localhost:8000 weaviate ...",
        "QDRANT__INFERENCE__ADDRESS=http://localhost:8000/qdrant qdrant",
    ),
    kind=ServeCommand,
    # Settings without an option of their own are flags too.
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)


def _other_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Parse ``--deadline-s 60`` and ``--deadline-s=60``; the settings are checked later."""
    settings: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--"):
            raise typer.BadParameter(f"{argument!r} does not belong to a flag.")
        given = value if equals else next(rest, None)
        if given is None:
            raise typer.BadParameter(f"{flag} needs a value.")
        settings[flag.removeprefix("--").replace("-", "_")] = given
    return settings
