"""The process around the application: uvicorn, logs, signals and exit."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from lusifer.bundle.default import default_bundle
from lusifer.bundle.format import Bundle
from lusifer.errors import SettingsError
from lusifer.service.app import create_app
from lusifer.service.auth import read_keys
from lusifer.service.connection import HttpConnection
from lusifer.service.connections import Connections, Listener
from lusifer.service.liveness import Liveness
from lusifer.service.logs import configure
from lusifer.service.settings import UNIX_SOCKET

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from lusifer.errors import LusiferError
    from lusifer.service.settings import Settings

__all__ = ["Server", "check_settings", "listen", "run", "server_config"]

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

    server = Server(create_app(settings, on_failure=fail), settings)
    listening = listen(settings)
    address = _url(settings.host, listening)
    _LOG.info("listening", extra={"url": address})
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises the signal again after an orderly stop
        _LOG.info("stopped")
    finally:
        if server.liveness is not None:
            server.liveness.close()
        if listening.family == socket.AF_UNIX:
            Path(settings.host.removeprefix(UNIX_SOCKET)).unlink(missing_ok=True)
    if failure:
        raise failure[0]


class Server(uvicorn.Server):
    """uvicorn with our own connections and accepting, which have limits.

    Args:
        app: The application, as :func:`create_app` returns it.
        settings: All settings of the service.
    """

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(server_config(app, settings))
        self._settings = settings
        metrics = app.state.service.metrics
        self.connections = Connections(settings, lambda: metrics.rejected("connection"))
        # Before the address of the service, so that a port in use is reported at once.
        self.liveness = None
        if settings.live_port is not None:
            # A service on a file has no address of its own.
            host = "127.0.0.1" if settings.host.startswith(UNIX_SOCKET) else settings.host
            self.liveness = Liveness(host, settings.live_port)
        metrics.bind("open_connections", lambda: len(self.connections), "Open connections.")

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second, and record that the event loop moves."""
        if self.liveness is not None:
            self.liveness.beat()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept connections on the sockets, which listen already."""
        await super().startup(sockets=[])

        def new_connection() -> HttpConnection:
            return HttpConnection(
                self._settings,
                self.connections,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        self.connections.start()
        for listening in sockets or []:
            listener = Listener(listening, self.connections, new_connection)
            # uvicorn calls close() and wait_closed() alone.
            self.servers.append(listener)  # type: ignore[arg-type]


def server_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    """Build the configuration with which uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=HttpConnection,
        # No protocol but HTTP/1.1: a request to upgrade is served without.
        ws="none",
        loop="auto",
        # The application logs requests itself, with their ids.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        SettingsError: The address can't be listened on.
    """
    # uvicorn's own socket ends the process when the port is in use.
    place: object
    if settings.host.startswith(UNIX_SOCKET):
        path = settings.host.removeprefix(UNIX_SOCKET)
        family, place = socket.AF_UNIX, path
        _remove_stale(Path(path))
    else:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        place = (settings.host, settings.port)
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(place)
    except OSError as error:
        listening.close()
        name = settings.host if family == socket.AF_UNIX else f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"{name} can't be listened on: {error.strerror}.",
            next_step="Stop what listens there, or give another --port (0 takes a free one).",
        ) from error
    # Weaviate opens a connection for each of hundreds of parallel requests.
    listening.listen(2048)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket that a service left behind, unless one still listens there."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:  # bind() reports it
            return


def _url(host: str, listening: socket.socket) -> str:
    if listening.family == socket.AF_UNIX:
        return host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"
