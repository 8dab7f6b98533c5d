"""The process around the application: uvicorn, logs, signals and exit."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from lusifer.bundle.default import default_bundle
from lusifer.bundle.format import Bundle
from lusifer.errors import SettingsError
from lusifer.service.app import create_app
from lusifer.service.auth import read_keys
from lusifer.service.logs import configure

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from lusifer.errors import LusiferError
    from lusifer.service.settings import Settings

__all__ = ["check_settings", "run", "server_config"]

_LOG = logging.getLogger("lusifer.service")


def check_settings(settings: Settings) -> str:
    """Open the bundle and keys of the settings without the model; describe them in one line.

    Raises:
        BundleError: The bundle is missing or damaged.
        SettingsError: The keys can't be read.
    """
    bundle = Bundle.open(settings.bundle or default_bundle())
    keys = len(read_keys(settings.api_keys_file)) if settings.api_keys_file else 0
    manifest = bundle.manifest
    return f"{manifest.name} {manifest.fingerprint[:19]}, engine {settings.engine}, {keys} API keys"


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish requests within ``shutdown_grace_s``.

    Raises:
        SettingsError: The address can't be listened on.
        LusiferError: The model can't be loaded.
    """
    configure(settings.log_format, settings.log_level)
    failure: list[LusiferError] = []

    def fail(error: LusiferError) -> None:
        failure.append(error)
        server.should_exit = True

    server = uvicorn.Server(server_config(create_app(settings, on_failure=fail), settings))
    listener = _listen(settings)
    address = f"http://{settings.host}:{listener.getsockname()[1]}"
    _LOG.info("listening", extra={"url": address})
    try:
        asyncio.run(server.serve(sockets=[listener]))
    except KeyboardInterrupt:  # uvicorn raises the signal again after an orderly stop
        _LOG.info("stopped")
    if failure:
        raise failure[0]


def server_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    """Build the configuration with which uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http="httptools",
        loop="auto",
        # The application logs requests itself, with their ids.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def _listen(settings: Settings) -> socket.socket:
    # uvicorn's own socket ends the process when the port is in use.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{settings.host}:{settings.port} can't be listened on: {error.strerror}.",
            next_step="Stop what listens there, or give another --port (0 takes a free one).",
        ) from error
    # Weaviate opens a connection for each of hundreds of parallel requests.
    listener.listen(2048)
    return listener
