from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from lusifer.errors import BundleNotFoundError, SettingsError
from lusifer.service.auth import add_key
from lusifer.service.server import check_settings, run, server_config
from lusifer.service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

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
