"""Web pages in a browser: which of them may use the service.

A browser sends what any page asks for to every address that its machine reaches, this one's
included. So a page of somebody else must not get through, neither by its own name (its ``Origin``)
nor by a name of its own that it lets point to this machine (DNS rebinding, seen in ``Host``).
Clients that are no browsers send neither ``Origin`` nor ``Sec-Fetch-Site``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from lusifer.errors import ForbiddenError, MalformedRequestError
from lusifer.service.settings import UNIX_SOCKET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lusifer.errors import LusiferError
    from lusifer.service.settings import Settings

    Refuse = Callable[[Request, LusiferError], Awaitable[Response]]

__all__ = ["BrowserGuard", "browser_middleware"]

_LOCAL_NAMES = frozenset(
    # The last two are this machine as its containers know it. Nobody can register them.
    {"", "localhost", "host.docker.internal", "host.containers.internal"}
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOKED_AT = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"content-type"})

_ALLOWED_HEADERS = (
    *("authorization", "content-type", "x-api-key", "api-key", "lusifer-api-key"),
    *("x-request-id", "traceparent", "tracestate"),
    # What the OpenAI client adds in a browser.
    *("openai-organization", "openai-project", "x-stainless-arch", "x-stainless-lang"),
    *("x-stainless-os", "x-stainless-package-version", "x-stainless-retry-count"),
    *("x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-timeout"),
)
"""Request headers that a page of ``cors_origins`` may send."""


def browser_middleware(settings: Settings, refuse: Refuse) -> list[Middleware]:
    """Return what stands between browsers and the routes: the guard, then CORS where it is on.

    Args:
        settings: ``host``, ``allowed_hosts`` and ``cors_origins``.
        refuse: Makes the answer to a request, from the error that says why it is refused.
    """
    middleware = [Middleware(BrowserGuard, settings=settings, refuse=refuse)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=("Retry-After", "X-Request-Id"),
        )
        middleware.append(cors)
    return middleware


class BrowserGuard:
    """Refuses requests of foreign web pages, before anything is read or done.

    Args:
        app: The application behind it.
        settings: ``host``, ``allowed_hosts`` and ``cors_origins``.
        refuse: Makes the answer to a request that is refused.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse
        # Elsewhere the service has names of its own, such as that of its container.
        self._checks_host = settings.is_local and not settings.host.startswith(UNIX_SOCKET)
        self._origins = frozenset(settings.cors_origins)
        own = [_authority(f"//{host}") for host in settings.allowed_hosts]
        self._names = _LOCAL_NAMES | {name for name, _ in own if name is not None}
        self._own = {
            (name, given)
            for name, port in own
            for given in ((80, 443) if port is None else (port,))
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why it is refused."""
        error = self._objection(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        response = await self._refuse(Request(scope, receive), error)
        await response(scope, receive, send)

    def _objection(self, scope: Scope) -> LusiferError | None:
        found: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                # Two of them are no host and no origin, and so refused.
                text = value.decode("latin-1")
                found[name] = f"{found[name]}, {text}" if name in found else text
        host, origin = found.get(b"host", ""), found.get(b"origin")
        if self._checks_host and not self._is_own_name(host):
            return ForbiddenError(
                f"The service is not known as {host[:200]!r}.",
                next_step="Use localhost or its IP address, or add the name to allowed_hosts.",
            )
        site = found.get(b"sec-fetch-site")
        if origin is None and site is None:
            return None
        if not self._is_admitted(host, origin):
            return _foreign(f"Pages of {origin!r:.200}")
        # Following a link to the page is no use of the service by the other page.
        link = scope["method"] == "GET" and found.get(b"sec-fetch-mode") == "navigate"
        if origin is None and site == "cross-site" and "*" not in self._origins and not link:
            return _foreign("Pages of other sites")
        kind = found.get(b"content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json" and not kind.endswith("+json"):
            # Other types need no preflight, so that a browser sends them for any page.
            return MalformedRequestError(
                f"The body's Content-Type is {kind[:100]!r}.",
                next_step="Send application/json from a web page.",
            )
        return None

    def _is_own_name(self, host: str) -> bool:
        name, _ = _authority(f"//{host}")
        if name is None:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)  # nobody can let it point elsewhere
        except ValueError:
            return False
        return True

    def _is_admitted(self, host: str, origin: str | None) -> bool:
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        name, port = _authority(origin)
        port = port or _DEFAULT_PORTS.get(origin.partition(":")[0])
        if name is None or port is None:
            return False
        own_name, own_port = _authority(f"//{host}")
        same = name == own_name and port in _ports(own_port)
        return same or (name, port) in self._own


def _ports(port: int | None) -> tuple[int, ...]:
    """Return the ports that a host may mean by the port that it names."""
    return tuple(_DEFAULT_PORTS.values()) if port is None else (port,)


def _authority(url: str) -> tuple[str | None, int | None]:
    """Return the host name and port of a URL, None for a name that is none."""
    try:
        split = urlsplit(url)
        if split.path or split.query or split.fragment or split.username is not None:
            return None, None
        return (split.hostname or "").rstrip("."), split.port
    except ValueError:
        return None, None


def _foreign(who: str) -> ForbiddenError:
    return ForbiddenError(
        f"{who} may not use this service.",
        next_step="Add their origin to cors_origins, or this service's own name to allowed_hosts.",
    )
