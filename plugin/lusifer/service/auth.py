"""API keys: several, named, stored as salted hashes, found by their hash.

The keys file is TOML::

    [keys.indexer]
    salt = "..."               # 16 random bytes, hexadecimal; the same for all keys of a file
    sha256 = "..."             # of salt and key
    tokens_per_minute = 60000  # optional
    maximum_texts = 256        # optional
    disabled = false           # optional

A key is 32 random bytes drawn here. One salted SHA-256 is thus as safe as a slow password hash:
nobody can try 2^256 keys. Keys that share a salt are in one index by their hash, so that a check
takes microseconds whatever their number. The hash of what a request presents says nothing about
how near it is, so neither does the time of the look-up.

Edits of the file are locked: one reads, changes and writes it, then the next.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import tomllib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.common.files import acquire_lock, write_atomic
from lusifer.errors import SettingsError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["ApiKey", "ApiKeys", "add_key", "presented_keys", "read_keys", "revoke_key"]

_LOG = logging.getLogger(__name__)

_PREFIX = "lusifer_"
"""Prefix by which a scanner for leaked secrets finds our keys."""

_LOCK_TIMEOUT_S = 30.0


class ApiKey(BaseModel):
    """One key of the keys file, with its limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tokens_per_minute: Annotated[int, Field(gt=0)] | None = None
    maximum_texts: Annotated[int, Field(gt=0)] | None = None
    disabled: bool = False


class ApiKeys:
    """Keys of a file.

    Args:
        path: The keys file.

    Raises:
        SettingsError: The file is missing or not valid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._index = _index(read_keys(path))

    def identify(self, *presented: str) -> ApiKey:
        """Return the first key of the file among those that a request presents.

        Raises:
            UnauthorizedError: The request has no key, or not one of the file.
        """
        # One hash for each salt of the file; a file of today has one salt.
        for key in presented:
            for salt, keys in self._index.items():
                if found := keys.get(_digest(salt, key)):
                    return found
        what = "The API key is not valid." if presented else "An API key is needed."
        raise UnauthorizedError(
            what,
            next_step="Send 'Authorization: Bearer KEY', or the header x-api-key or "
            "lusifer-api-key.",
        )

    def refresh(self) -> None:
        """Read the file again if it has changed; from any thread, one at a time.

        A file that has become invalid is logged, and the old keys stay in use.
        """
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._index = _index(read_keys(self._path))
        except SettingsError as error:
            _LOG.error("the keys in use stay: %s", error)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _index(keys: Iterable[ApiKey]) -> dict[str, dict[str, ApiKey]]:
    """Return the keys that are not disabled, by salt and by hash."""
    index: dict[str, dict[str, ApiKey]] = {}
    for key in keys:
        if not key.disabled:
            index.setdefault(key.salt, {})[key.sha256] = key
    return index


def presented_keys(headers: Mapping[str, str]) -> list[str]:
    """Return what may be a key in a request's headers, at most four. Header names are lower case.

    All known places count: a proxy may put credentials of its own beside the client's key.
    """
    found = []
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    if scheme.lower() == "basic":
        # Weaviate's HTTP client sends this for http://user:KEY@host.
        with suppress(ValueError):  # not base64, not ASCII, or not UTF-8
            found.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    found += [headers.get(name, "") for name in ("x-api-key", "lusifer-api-key", "api-key")]
    return [key for key in found if key]


def add_key(
    path: Path, name: str, *, tokens_per_minute: int | None = None, maximum_texts: int | None = None
) -> str:
    """Draw a key, store its hash and return the key, which is stored nowhere.

    Raises:
        SettingsError: The name is taken or not valid, or the file can't be read or written.
    """
    secret = _PREFIX + secrets.token_urlsafe(32)
    with _locked(path) as real:
        keys = read_keys(real) if real.exists() else []
        if any(key.name == name for key in keys):
            raise SettingsError(
                f"{path} already has a key {name!r}.",
                next_step="Choose another name, or revoke the key first.",
            )
        # The newest salt: keys of an earlier version have one each.
        salt = keys[-1].salt if keys else secrets.token_hex(16)
        try:
            key = ApiKey(
                name=name,
                salt=salt,
                sha256=_digest(salt, secret),
                tokens_per_minute=tokens_per_minute,
                maximum_texts=maximum_texts,
            )
        except ValidationError as error:
            raise SettingsError(
                f"The key {name!r} can't be stored: {error.errors()[0]['msg']}.",
                next_step="Use letters, digits, '.', '_' and '-' in the name, and limits above 0.",
            ) from error
        _write_keys(real, [*keys, key])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key. A running service refuses it a second later.

    Raises:
        SettingsError: The file has no such key, or can't be read or written.
    """
    if not path.exists():
        read_keys(path)  # says so, and leaves no lock file behind
    with _locked(path) as real:
        keys = read_keys(real)
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            raise SettingsError(
                f"{path} has no key {name!r}.", next_step="See the names with: lusifer keys list"
            )
        _write_keys(real, kept)


def read_keys(path: Path) -> list[ApiKey]:
    """Return all keys of a file.

    Raises:
        SettingsError: The file is missing, unreadable or not valid.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("keys", {})
        return [ApiKey(name=name, **fields) for name, fields in tables.items()]
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no keys file {path}.", next_step="Make one with: lusifer keys add NAME"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"The keys file {path} can't be used: {error}.",
            next_step="Correct it, or write a new one with: lusifer keys add NAME",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Keep other edits of a keys file waiting; yield the file that a link leads to."""
    try:
        real = path.resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire_lock(real.with_name(f"{real.name}.lock"), timeout_s=_LOCK_TIMEOUT_S)
        try:
            yield real
        finally:
            lock.release()
    except TimeoutError as error:
        raise SettingsError(
            f"Another process has edited {path} for more than {_LOCK_TIMEOUT_S:g} s.",
            next_step="Wait for it, or end it, then try again.",
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise SettingsError(
            f"The keys file {path} can't be written: {error}.",
            next_step="Check the permissions of its folder.",
        ) from error


def _write_keys(path: Path, keys: list[ApiKey]) -> None:
    lines = ["# Written by lusifer keys. Only salted hashes: a lost key can't be read back."]
    for key in keys:
        lines += ["", f'[keys."{key.name}"]']
        for field, value in key.model_dump(exclude={"name"}, exclude_defaults=True).items():
            text = str(value).lower() if isinstance(value, bool) else value
            lines.append(f'{field} = "{text}"' if isinstance(value, str) else f"{field} = {text}")
    write_atomic(path, "\n".join(lines) + "\n", mode=0o600)


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode("utf-8", "surrogatepass")).hexdigest()
