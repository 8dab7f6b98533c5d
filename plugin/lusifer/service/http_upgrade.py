"""Requests that ask to upgrade to another protocol, which a server may answer as if they didn't."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["head_without_upgrade"]

_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


def head_without_upgrade(
    method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Return the head of a request without what asks for an upgrade.

    Args:
        method: Such as ``POST``.
        url: As it was sent.
        version: Such as ``1.1``.
        headers: Names in lower case, and values.
    """
    head = [method, b" ", url, b" HTTP/", version.encode()]
    for name, value in headers:
        kept = value
        if name == b"connection":
            options = value.split(b",")
            kept = b",".join(each for each in options if each.strip().lower() not in _UPGRADE)
        if name not in _UPGRADE and (kept or not value):
            head += [b"\r\n", name, b": ", kept]
    head.append(b"\r\n\r\n")
    return b"".join(head)
