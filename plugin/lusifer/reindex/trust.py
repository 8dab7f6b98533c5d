"""Plans from elsewhere: what they name is asked about before it is used.

A plan names servers, which get the keys of the environment, and folders, which are read and
written. One that was made here has a seal: the hash of the plan under a secret of this user. A plan
without it, from another person or machine or changed since, is followed only where every host and
folder that it names is allowed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lusifer.common.files import acquire_lock, read_regular, write_atomic
from lusifer.common.paths import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer.reindex.plan import Location, Plan

__all__ = ["is_sealed", "named_folders", "named_urls", "seal", "unknown_folders", "unknown_urls"]

_SEAL = "plan.seal"
_SECRET = "plan-secret"  # noqa: S105  (a file's name)
_SECRET_BYTES = 32
_LOCK_TIMEOUT_S = 10.0


def seal(folder: Path, content: bytes) -> None:
    """Mark the plan of a job as this user's own; without a cache folder it stays unmarked.

    Args:
        folder: The job's folder.
        content: What ``plan.json`` holds.
    """
    # Not marked means asked about later, which is safe.
    with suppress(OSError, TimeoutError):
        write_atomic(folder / _SEAL, _seal_of(content) + "\n", mode=0o600)


def is_sealed(folder: Path, content: bytes) -> bool:
    """Return whether this user made, or allowed, exactly this plan."""
    try:
        found = read_regular(folder / _SEAL, 1024).decode("ascii", "replace").strip()
        return hmac.compare_digest(found.encode(), _seal_of(content).encode())
    except (OSError, TimeoutError):
        return False


def named_urls(plan: Plan) -> list[str]:
    """Return the addresses of all servers that a plan names."""
    servers = [each.address for each in _locations(plan) if each.kind in ("qdrant", "weaviate")]
    return _unique([*servers, plan.model.service, plan.service_address])


def named_folders(plan: Plan) -> list[str]:
    """Return all files and folders that a plan names."""
    paths = [each.address for each in _locations(plan) if each.kind in ("embedded", "file")]
    return _unique([*paths, plan.model.bundle])


def unknown_urls(plan: Plan, hosts: Iterable[str]) -> list[str]:
    """Return the addresses of a plan whose host is not allowed.

    Args:
        plan: The plan.
        hosts: Allowed hosts, each as ``HOST`` for every port, or as ``HOST:PORT``.
    """
    allowed = {host.lower() for host in hosts}
    return [url for url in named_urls(plan) if not allowed & _hosts_of(url)]


def unknown_folders(plan: Plan, folders: Iterable[Path]) -> list[str]:
    """Return the files and folders of a plan that lie in none of the allowed folders."""
    roots = [folder.resolve() for folder in folders]
    return [
        path
        for path in named_folders(plan)
        if not any(Path(path).resolve().is_relative_to(root) for root in roots)
    ]


def _locations(plan: Plan) -> tuple[Location, Location]:
    return plan.source, plan.target


def _unique(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))


def _hosts_of(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return set()
    if host is None:
        return set()
    port = port or {"http": 80, "https": 443}.get(parts.scheme)
    return {host, f"{host}:{port}"}


def _seal_of(content: bytes) -> str:
    return hmac.new(_secret(), content, hashlib.sha256).hexdigest()


def _secret() -> bytes:
    folder = private_folder()
    path = folder / _SECRET
    lock = acquire_lock(folder / f"{_SECRET}.lock", timeout_s=_LOCK_TIMEOUT_S)
    try:
        with suppress(FileNotFoundError):
            if len(found := read_regular(path, _SECRET_BYTES)) == _SECRET_BYTES:
                return found
        made = secrets.token_bytes(_SECRET_BYTES)
        write_atomic(path, made, mode=0o600)
        return made
    finally:
        lock.release()
