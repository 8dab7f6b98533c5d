"""API keys: several, named, stored as salted hashes, compared in constant time.

The keys file is TOML::

    [keys.indexer]
    salt = "..."               # 16 random bytes, hexadecimal
    sha256 = "..."             # of salt and key
    tokens_per_minute = 60000  # optional
    maximum_texts = 256        # optional
    disabled = false           # optional

A key is 32 random bytes drawn here. One salted SHA-256 is thus as safe as a slow password hash:
nobody can try 2^256 keys. The check takes microseconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import time
import tomllib
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.common.files import write_atomic
from lusifer.errors import SettingsError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ApiKey", "ApiKeys", "add_key", "presented_key", "read_keys", "revoke_key"]

_LOG = logging.getLogger(__name__)

_PREFIX = "lusifer_"
"""Prefix by which a scanner for leaked secrets finds our keys."""

_RELOAD_S = 1.0


class ApiKey(BaseModel):
    """One key of the keys file, with its limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tokens_per_minute: Annotated[int, Field(gt=0)] | None = None
    maximum_texts: Annotated[int, Field(gt=0)] | None = None
    disabled: bool = False

    def matches(self, presented: str) -> bool:
        """Return whether this is the key, in a time that says nothing about where it differs."""
        return hmac.compare_digest(_digest(self.salt, presented), self.sha256)


class ApiKeys:
    """Keys of a file, which is read again within a second after a change.

    Args:
        path: The keys file.

    Raises:
        SettingsError: The file is missing or not valid. A file that becomes invalid later is
            logged, and the old keys stay in use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = read_keys(path)
        self._version = self._stamp()
        self._checked_s = time.monotonic()

    def identify(self, presented: str | None) -> ApiKey:
        """Return the key that a request presents.

        Raises:
            UnauthorizedError: The request has no key, or not one of the file.
        """
        self._reload()
        # All keys, without an early end, so that the time says nothing about which one matches.
        found = [key for key in self._keys if key.matches(presented or "") and not key.disabled]
        if not found:
            what = "The API key is not valid." if presented else "An API key is needed."
            raise UnauthorizedError(
                what,
                next_step="Send 'Authorization: Bearer KEY', or the header x-api-key or "
                "lusifer-api-key.",
            )
        return found[0]

    def _reload(self) -> None:
        now_s = time.monotonic()
        if now_s - self._checked_s < _RELOAD_S:
            return
        self._checked_s = now_s
        version = self._stamp()
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = read_keys(self._path)
        except SettingsError as error:
            _LOG.error("the keys in use stay: %s", error)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def presented_key(headers: Mapping[str, str]) -> str | None:
    """Return the key in a request's headers, None without one. Header names are lower case."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        # Weaviate's HTTP client sends this for http://user:KEY@host.
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return (
        headers.get("x-api-key") or headers.get("lusifer-api-key") or headers.get("api-key") or None
    )


def add_key(
    path: Path, name: str, *, tokens_per_minute: int | None = None, maximum_texts: int | None = None
) -> str:
    """Draw a key, store its hash and return the key, which is stored nowhere.

    Raises:
        SettingsError: The name is taken or not valid, or the file can't be read.
    """
    keys = read_keys(path) if path.exists() else []
    if any(key.name == name for key in keys):
        raise SettingsError(
            f"{path} already has a key {name!r}.",
            next_step="Choose another name, or revoke the key first.",
        )
    secret = _PREFIX + secrets.token_urlsafe(32)
    salt = secrets.token_hex(16)
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
    _write_keys(path, [*keys, key])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key. A running service refuses it within a second.

    Raises:
        SettingsError: The file has no such key.
    """
    keys = read_keys(path)
    kept = [key for key in keys if key.name != name]
    if len(kept) == len(keys):
        raise SettingsError(
            f"{path} has no key {name!r}.", next_step="See the names with: lusifer keys list"
        )
    _write_keys(path, kept)


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
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"The keys file {path} can't be used: {error}.",
            next_step="Correct it, or write a new one with: lusifer keys add NAME",
        ) from error


def _write_keys(path: Path, keys: list[ApiKey]) -> None:
    lines = ["# Written by lusifer keys. Only salted hashes: a lost key can't be read back."]
    for key in keys:
        lines += ["", f'[keys."{key.name}"]']
        for field, value in key.model_dump(exclude={"name"}, exclude_defaults=True).items():
            text = str(value).lower() if isinstance(value, bool) else value
            lines.append(f'{field} = "{text}"' if isinstance(value, str) else f"{field} = {text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(lines) + "\n", mode=0o600)


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode("utf-8", "surrogatepass")).hexdigest()
