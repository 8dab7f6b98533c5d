from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from plugin.tests.service.protocol_cases import DIMENSION
from starlette.applications import Starlette

from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.errors import BundleNotFoundError, SettingsError
from lusifer.service.app import create_app
from lusifer.service.auth import add_key
from lusifer.service.server import Server, check_settings, listen, run, server_config
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.bundle.format import Bundle


def test_settings_are_described_in_one_line(bundle: Bundle, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml", "a")
    settings = Settings(bundle=bundle.path, api_keys_file=tmp_path / "keys.toml")
    fingerprint = bundle.manifest.fingerprint[:19]
    assert check_settings(settings) == (f"lusifer-tiny-test {fingerprint}, engine onnx, 1 API keys")
    with pytest.raises(BundleNotFoundError):
        check_settings(Settings(bundle=tmp_path / "none"))
    with pytest.raises(SettingsError, match="no keys file"):
        check_settings(Settings(bundle=bundle.path, api_keys_file=tmp_path / "none"))


def test_connections_stay_open_for_weaviate_and_logs_are_ours() -> None:
    config = server_config(Starlette(), Settings(keep_alive_s=120, shutdown_grace_s=7))
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (120, 7)
    assert (config.access_log, config.log_config, config.server_header) == (False, None, False)


def test_a_port_in_use_is_reported(bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} can't be listened on"):
            run(Settings(bundle=bundle.path, port=port))


@contextlib.contextmanager
def serving(bundle: Bundle, host: str) -> Iterator[socket.socket]:
    """Serve on an address of the setting ``host``."""
    settings = Settings(host=host, port=0, canary=False)
    app = create_app(settings, vectorizer=Vectorizer(bundle, FakeEngine(DIMENSION)))
    server, listening = Server(app, settings), listen(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening
    finally:
        server.should_exit = True
        thread.join()


def embedded(client: httpx.Client, url: str) -> int:
    """Embed when the model is ready; return the length of the vector."""
    ends_s = time.monotonic() + 60
    while (answer := client.post(url, json={"text": "a"})).status_code == 503:
        assert time.monotonic() < ends_s
        time.sleep(0.01)
    return len(answer.json()["vector"])


def test_it_serves_on_ipv6(bundle: Bundle) -> None:
    with serving(bundle, "::1") as listening, httpx.Client(trust_env=False) as client:
        port = listening.getsockname()[1]
        assert embedded(client, f"http://[::1]:{port}/vectors") == DIMENSION


def test_it_serves_on_a_unix_socket_and_takes_over_a_stale_one(bundle: Bundle) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve"
        for _ in range(2):
            with (
                serving(bundle, f"unix:{path}"),
                httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client,
            ):
                assert embedded(client, "http://any.example/vectors") == DIMENSION
                with pytest.raises(SettingsError, match="can't be listened on"):
                    listen(Settings(host=f"unix:{path}"))
        assert path.is_socket()
        path.unlink()
        path.write_text("a file of somebody")
        with pytest.raises(SettingsError, match="can't be listened on"):
            listen(Settings(host=f"unix:{path}"))
        assert path.read_text() == "a file of somebody"
