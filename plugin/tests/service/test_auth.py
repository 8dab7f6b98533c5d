from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import SettingsError, UnauthorizedError
from lusifer.service.auth import ApiKeys, add_key, presented_key, read_keys, revoke_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def right_and_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ApiKeys]:
    """Return a key, and the keys that it is one of."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    add_key(path, "other")
    return add_key(path, "mine"), ApiKeys(path)


def test_only_a_salted_hash_is_stored_and_only_the_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    first, second = add_key(path, "a", tokens_per_minute=60), add_key(path, "b")
    assert first not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = ApiKeys(path)
    assert keys.identify(first).tokens_per_minute == 60
    assert keys.identify(second).name == "b"
    with pytest.raises(SettingsError, match="already"):
        add_key(path, "a")
    with pytest.raises(SettingsError, match="can't be stored"):
        add_key(path, "a b")


@given(st.data())
def test_nothing_else_is_a_key(right_and_keys: tuple[str, ApiKeys], data: st.DataObject) -> None:
    right, keys = right_and_keys
    at = data.draw(st.integers(0, len(right)))
    changed = (
        right[:at] + data.draw(st.text(max_size=2)) + right[at + data.draw(st.integers(0, 2)) :]
    )
    for presented in (changed, data.draw(st.text(max_size=60))):
        if presented == right:
            assert keys.identify(presented).name == "mine"
        else:
            with pytest.raises(UnauthorizedError):
                keys.identify(presented)


def test_a_revoked_key_ends_while_the_service_runs_and_a_broken_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lusifer.service.auth._RELOAD_S", 0.0)
    path = tmp_path / "keys.toml"
    key, other = add_key(path, "a"), add_key(path, "b")
    keys = ApiKeys(path)
    revoke_key(path, "a")
    with pytest.raises(UnauthorizedError):
        keys.identify(key)
    path.write_text("[keys.b]\nsha256 = 'short'\n")
    assert keys.identify(other).name == "b"
    assert "keys in use stay" in caplog.text
    path.unlink()
    assert keys.identify(other).name == "b"
    with pytest.raises(SettingsError, match="no keys file"):
        read_keys(path)


def test_a_disabled_key_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    key = add_key(path, "a")
    path.write_text(path.read_text() + "disabled = true\n")
    with pytest.raises(UnauthorizedError):
        ApiKeys(path).identify(key)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"authorization": "Bearer  k "}, "k"),
        ({"authorization": "bearer k"}, "k"),
        ({"authorization": "Basic YTpr"}, "k"),
        ({"authorization": "Basic %%%"}, None),
        ({"authorization": "Basic /w=="}, None),
        ({"authorization": "Bearer "}, None),
        ({"x-api-key": "k"}, "k"),
        ({"lusifer-api-key": "k"}, "k"),
        ({"api-key": "k"}, "k"),
    ],
)
def test_where_a_key_may_stand(headers: dict[str, str], expected: str | None) -> None:
    assert presented_key(headers) == expected
