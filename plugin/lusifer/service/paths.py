"""Paths as clients write them, brought to the one form that the routes have.

A client joins the URL that it was given with the path of its API: a slash at the end of the one and
one at the start of the other make two, and proxies add one at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["NormalizedPaths", "normalized"]

_SLASHES = re.compile("/{2,}")


def normalized(path: str) -> str:
    """Return a path with single slashes and none at its end, ``/`` for an empty one."""
    return _SLASHES.sub("/", f"/{path}").rstrip("/") or "/"


class NormalizedPaths:
    """Normalizes the path of each request before anything else looks at it.

    It answers at once and sends no redirect, because Weaviate follows none.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path normalized."""
        if scope["type"] == "http":
            scope["path"] = normalized(scope["path"])
        await self._app(scope, receive, send)
