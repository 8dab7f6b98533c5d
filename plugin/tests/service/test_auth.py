from __future__ import annotations

import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import SettingsError, UnauthorizedError
from lusifer.service import auth
from lusifer.service.auth import ApiKeys, add_key, presented_keys, read_keys, revoke_key

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
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    key, other = add_key(path, "a"), add_key(path, "b")
    keys = ApiKeys(path)
    revoke_key(path, "a")
    keys.refresh()
    with pytest.raises(UnauthorizedError):
        keys.identify(key)
    path.write_text("[keys.b]\nsha256 = 'short'\n")
    keys.refresh()
    assert keys.identify(other).name == "b"
    assert "keys in use stay" in caplog.text
    path.unlink()
    keys.refresh()
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
        ({}, []),
        ({"authorization": "Bearer  k "}, ["k"]),
        ({"authorization": "bearer k"}, ["k"]),
        ({"authorization": "Basic YTpr"}, ["k"]),
        ({"authorization": "Basic %%%"}, []),
        ({"authorization": "Basic /w=="}, []),
        ({"authorization": "Basic \xe9"}, []),
        ({"authorization": "Bearer "}, []),
        ({"x-api-key": "k"}, ["k"]),
        ({"lusifer-api-key": "k"}, ["k"]),
        ({"api-key": "k"}, ["k"]),
        # A proxy's own credentials beside the client's key.
        ({"authorization": "Basic YTpwcm94eQ==", "x-api-key": "k"}, ["proxy", "k"]),
        ({"authorization": "Negotiate YTpr", "api-key": "k"}, ["k"]),
    ],
)
def test_where_a_key_may_stand(headers: dict[str, str], expected: list[str]) -> None:
    assert presented_keys(headers) == expected


def test_any_of_the_keys_of_a_request_will_do(right_and_keys: tuple[str, ApiKeys]) -> None:
    right, keys = right_and_keys
    assert keys.identify("wrong", right).name == "mine"
    assert keys.identify(right, "wrong").name == "mine"
    with pytest.raises(UnauthorizedError, match="not valid"):
        keys.identify("wrong", "wrong too")
    with pytest.raises(UnauthorizedError, match="needed"):
        keys.identify()


@given(st.sampled_from(["authorization", "x-api-key", "lusifer-api-key", "api-key"]), st.data())
def test_any_bytes_of_a_header_are_no_key(
    right_and_keys: tuple[str, ApiKeys], name: str, data: st.DataObject
) -> None:
    scheme = data.draw(st.sampled_from([b"", b"Bearer ", b"basic ", b"Basic ", b"Digest "]))
    raw = scheme + data.draw(st.binary(max_size=80))
    # As the server decodes a header.
    with pytest.raises(UnauthorizedError):
        right_and_keys[1].identify(*presented_keys({name: raw.decode("latin-1")}))


EDIT = """
import sys
from pathlib import Path
from lusifer.service.auth import add_key, revoke_key
path, number, parts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
for each in range(number, 100, parts):
    revoke_key(path, f"old{each}")
    print(add_key(path, f"new{each}"), flush=True)
"""


def test_parallel_edits_lose_nothing_and_resurrect_nothing(tmp_path: Path) -> None:
    """100 keys are added and 100 revoked by 8 processes at once."""
    path, processes = tmp_path / "keys.toml", 8
    old = [add_key(path, f"old{each}") for each in range(100)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", EDIT, str(path), str(number), str(processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    new = [line for each in running for line in each.communicate()[0].split()]
    assert [each.returncode for each in running] == [0] * processes
    keys = ApiKeys(path)
    assert {keys.identify(key).name for key in new} == {f"new{each}" for each in range(100)}
    assert len(read_keys(path)) == 100
    for key in old:
        with pytest.raises(UnauthorizedError):
            keys.identify(key)


def test_the_file_behind_a_link_is_edited(tmp_path: Path) -> None:
    real, link = tmp_path / "secrets" / "keys.toml", tmp_path / "keys.toml"
    real.parent.mkdir()
    link.symlink_to(real)
    key = add_key(link, "a")
    real.chmod(0o640)
    keys = ApiKeys(real)
    revoke_key(link, "a")
    keys.refresh()
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    with pytest.raises(UnauthorizedError):
        keys.identify(key)
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(SettingsError, match="can't be written"):
        add_key(link, "b")


def test_a_check_costs_the_same_for_any_number_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.toml"
    mine = add_key(path, "mine")
    (first,) = read_keys(path)
    others = "".join(
        f'[keys."k{each}"]\nsalt = "{first.salt}"\nsha256 = "{each:064x}"\n'
        for each in range(20_000)
    )
    path.write_text(others + path.read_text())
    last = add_key(path, "last")
    keys = ApiKeys(path)
    digests: list[str] = []
    digest = auth._digest

    def counted(salt: str, key: str) -> str:
        digests.append(salt)
        return digest(salt, key)

    monkeypatch.setattr(auth, "_digest", counted)
    assert [keys.identify(key).name for key in (mine, last)] == ["mine", "last"]
    with pytest.raises(UnauthorizedError):
        keys.identify("lusifer_wrong")
    assert digests == [first.salt] * 3


def test_keys_of_an_earlier_version_have_a_salt_each(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.toml", "b.toml")]
    first, second = (add_key(path, path.stem) for path in paths)
    both = tmp_path / "both.toml"
    both.write_text("".join(path.read_text() for path in paths))
    third = add_key(both, "c")
    keys = ApiKeys(both)
    assert [keys.identify(key).name for key in (first, second, third)] == ["a", "b", "c"]
    assert len({key.salt for key in read_keys(both)}) == 2
