"""Addresses of servers, shown and kept without the keys that may stand in them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["has_key", "without_key"]


def has_key(url: str) -> bool:
    """Return whether an address holds a user, a password or a query, any of which may be a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url or "?" in url
    return "@" in parts.netloc or bool(parts.query)


def without_key(url: str) -> str:
    """Return an address for people: without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that can't be read"
    host = parts.netloc.rpartition("@")[2]
    # Without a scheme, "user:key@host" is all scheme and path.
    path = parts.path if host else parts.path.rpartition("@")[2]
    scheme = parts.scheme if host or "@" not in parts.path else ""
    return urlunsplit((scheme, host, path, "", ""))
