from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette

from lusifer.errors import SettingsError
from lusifer.service.server import server_config
from lusifer.service.settings import SettingHelp, Settings, load_settings, settings_help

if TYPE_CHECKING:
    from pathlib import Path


def test_flags_before_environment_before_file_before_defaults(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('port = 1\nqueue_tokens = 9000\nlong_text = "error"\nmodel_aliases = ["a"]\n')
    environment = {"LUSIFER_SERVE_PORT": "2", "LUSIFER_SERVE_QUEUE_TOKENS": "8000", "HOME": "/"}
    settings = load_settings({"port": 3, "bundle": None}, environment, config)
    assert (settings.port, settings.queue_tokens, settings.long_text) == (3, 8000, "error")
    assert settings.model_aliases == ("a",)
    assert server_config(Starlette(), settings).timeout_keep_alive >= 95
    named = load_settings({}, {"LUSIFER_SERVE_CONFIG": str(config)})
    assert named.port == 1
    assert load_settings({}, {"LUSIFER_SERVE_MODEL_ALIASES": "x, y"}).model_aliases == (
        "x",
        "y",
    )


def test_everything_wrong_is_reported_at_once_with_its_source_and_the_right_name(
    tmp_path: Path,
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("prot = 1\ncache_bytes = -5\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({"engine": "tensorrt"}, {"LUSIFER_SERVE_LONGTEXT": "x"}, config)
    message = str(caught.value)
    for part in (
        "prot",
        "mean port",
        "longtext",
        "mean long_text",
        "cache_bytes is -5",
        str(config),
    ):
        assert part in message
    assert "engine is 'tensorrt' in the command line" in message


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"engine": "triton"}, "triton_url"),
        ({"batch_tokens": 100, "queue_tokens": 50}, "queue_tokens 50"),
        # Weaviate would write into connections that we close.
        ({"keep_alive_s": 60}, "keep_alive_s is 60"),
    ],
)
def test_settings_that_contradict_each_other(flags: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        load_settings(flags, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "gpu.example.org"])  # noqa: S104
def test_other_machines_need_keys_or_the_word_that_they_need_none(
    host: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no API key is asked for") as caught:
        load_settings({"host": host}, {})
    assert "api_keys_file" in caught.value.message
    assert "--open" in caught.value.message
    assert load_settings({"host": host}, {"LUSIFER_SERVE_OPEN": "1"}).open
    assert load_settings({"host": host, "api_keys_file": tmp_path / "keys.toml"}, {}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert load_settings({"host": host}, {}).host == host


def test_a_file_that_is_missing_or_not_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("port 1")
    for name in ("none.toml", "bad.toml"):
        with pytest.raises(SettingsError, match=name):
            load_settings({}, {}, tmp_path / name)


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_help_has_defaults_and_choices() -> None:
    found = settings_help()
    assert list(found) == list(Settings.model_fields)
    assert found["port"] == SettingHelp("port", "Port to listen on; 0 takes a free one.", "8000")
    assert (found["page"].default, found["threads"].default) == ("true", None)
    assert found["model_aliases"].default is None
    assert found["log_format"].description == (
        "Format of the logs: JSON lines, or columns for people. One of json, console."
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "unix:/run/a"])
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert Settings(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lusifer"])  # noqa: S104
def test_addresses_that_others_reach(host: str) -> None:
    assert not Settings(host=host).is_local


def test_lists_are_split_at_commas() -> None:
    settings = load_settings({"cors_origins": "https://a.example, *", "allowed_hosts": "b"}, {})
    assert settings.cors_origins == ("https://a.example", "*")
    assert settings.allowed_hosts == ("b",)
