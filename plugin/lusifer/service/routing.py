"""The HTTP side that every protocol shares: keys, body limits, errors in its form, lost clients.

A protocol's module defines its bodies and how they map to texts and a role. Everything else is
here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lusifer.errors import LusiferError, ServiceError, UnauthorizedError
from lusifer.service.answers import Answer, Dialect, error_response, json_response, reason_of
from lusifer.service.auth import presented_keys
from lusifer.service.bodies import LARGE_BYTES, check_values, parse, read_body
from lusifer.service.embedding_service import Caller, EmbeddingService
from lusifer.service.logs import request_id_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

    from lusifer.service.auth import ApiKey
    from lusifer.service.in_flight import RequestBytes

__all__ = ["Operation", "Variant", "authenticated", "dialect_of", "get", "post", "respond"]

_LOG = logging.getLogger("lusifer.service")

_Body = TypeVar("_Body", bound=BaseModel)
_Value = TypeVar("_Value")

CLIENT_CLOSED_REQUEST = 499
"""Status of a client that left, for logs and metrics. Nobody receives it."""


@dataclass(frozen=True)
class Operation:
    """Description of a route for the OpenAPI document, and the dialect of its errors."""

    dialect: Dialect
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    public: bool = False
    media_type: str = "application/json"


@dataclass(frozen=True)
class Variant:
    """Requests of another protocol at the path of a route, which only the body tells apart."""

    dialect: Dialect
    body: type[BaseModel]
    handle: Callable[[Any, EmbeddingService, Caller], Awaitable[Answer]]
    matches: Callable[[bytearray], bool]
    """Returns whether a body that is not checked otherwise is of this protocol."""


def post(
    path: str,
    dialect: Dialect,
    body: type[_Body],
    handle: Callable[[_Body, EmbeddingService, Caller], Awaitable[Answer]],
    *,
    summary: str,
    answer: type[BaseModel] | None = None,
    variant: Variant | None = None,
) -> Route:
    """Make a route that reads JSON whatever its Content-Type, because Weaviate sends none."""
    usual = Variant(dialect, body, handle, lambda _: True)

    async def work(request: Request) -> Answer:
        service: EmbeddingService = request.app.state.service
        held: RequestBytes = request.state.held
        key_of = dialect.body_key
        in_body = (
            key_of is not None
            and request.app.state.keys is not None
            and not presented_keys(request.headers)
        )
        key = None if in_body else _identify(request, None)
        held.assign("" if in_body else key.name if key else None)
        raw = await read_body(request, service.settings, held)
        if in_body and key_of is not None:
            key = _identify(request, await _read(request, raw, key_of))
            held.assign(key.name if key else None)
        start_s = time.perf_counter()
        spoken = usual
        if variant is not None and await _read(request, raw, variant.matches):
            spoken = variant
            request.state.dialect = variant.dialect
        parsed = await _read(request, raw, partial(parse, spoken.body))
        del raw
        service.metrics.stage("parse", time.perf_counter() - start_s)
        caller = Caller(
            key=key.name if key else None,
            request_id=request.state.request_id,
            protocol=spoken.dialect.name,
            held=held,
            maximum_texts=key.maximum_texts if key else None,
            tokens_per_minute=key.tokens_per_minute if key else None,
            path_model=request.path_params.get("model"),
        )
        return await _unless_gone(request, spoken.handle(parsed, service, caller))

    return _route(path, "POST", Operation(dialect, summary, body, answer), work)


def get(
    path: str,
    dialect: Dialect,
    handle: Callable[[EmbeddingService], Answer],
    *,
    summary: str,
    answer: type[BaseModel] | None = None,
    public: bool = False,
    media_type: str = "application/json",
) -> Route:
    """Make a route without a body that is answered at once. A ``public`` one needs no key."""

    async def work(request: Request) -> Answer:
        if not public:
            _identify(request, None)
        return handle(request.app.state.service)

    return _route(path, "GET", Operation(dialect, summary, None, answer, public, media_type), work)


def authenticated(request: Request) -> bool:
    """Return whether the request carries a valid API key, or keys are off."""
    try:
        _identify(request, None)
    except UnauthorizedError:
        return False
    return True


def dialect_of(route: BaseRoute) -> Dialect | None:
    """Return the dialect of a route, None for a route outside the protocols."""
    operation: Operation | None = getattr(route, "operation", None)
    return operation.dialect if operation else None


class _Endpoint:
    """The ASGI application of one route.

    Args:
        name: Name of the route in traces.
        operation: The route's dialect.
        work: Returns the answer of a request.
    """

    def __init__(
        self, name: str, operation: Operation, work: Callable[[Request], Awaitable[Answer]]
    ) -> None:
        self._name = name
        self._operation = operation
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; its bytes in flight are given back when the answer is sent."""
        request = Request(scope, receive, send)
        service: EmbeddingService = request.app.state.service
        with service.bytes_in_flight.request() as held:
            request.state.held = held
            with request.app.state.tracer.request(self._name, request.headers) as span:
                response = await respond(request, self._operation.dialect, self._work)
                if span is not None:
                    span.set_attribute("http.response.status_code", response.status_code)
                    span.set_attribute("lusifer.request_id", request.state.request_id)
            held.replace(len(response.body))
            await response(scope, receive, send)


def _route(
    path: str, method: str, operation: Operation, work: Callable[[Request], Awaitable[Answer]]
) -> Route:
    name = f"{operation.dialect.name} {method} {path}"
    route = Route(path, _Endpoint(name, operation, work), methods=[method], name=name)
    # Starlette's class has no such attribute; the OpenAPI document is made from it.
    route.operation = operation  # type: ignore[attr-defined]
    return route


async def respond(
    request: Request, dialect: Dialect, work: Callable[[Request], Awaitable[Answer]]
) -> Response:
    """Do the work, report its errors in the protocol's form, count and log the request."""
    service: EmbeddingService = request.app.state.service
    request.state.request_id = request_id_from(request.headers)
    start_s = time.perf_counter()
    service.in_flight_requests += 1
    try:
        answer = await work(request)
        written_s = time.perf_counter()
        response = json_response(answer)
        service.metrics.stage("serialize", time.perf_counter() - written_s)
    except LusiferError as error:
        service.metrics.rejected(reason_of(error))
        response = error_response(error, _dialect(request, dialect))
    except ClientDisconnect:
        service.metrics.rejected("disconnected")
        response = Response(status_code=CLIENT_CLOSED_REQUEST)
    except Exception:
        _LOG.exception("request failed", extra={"request_id": request.state.request_id})
        service.metrics.rejected("failed")
        response = error_response(
            ServiceError(
                "The service failed on this request.",
                next_step=f"Search the service's log for request_id {request.state.request_id}.",
            ),
            _dialect(request, dialect),
        )
    finally:
        service.in_flight_requests -= 1
    dialect = _dialect(request, dialect)
    duration_s = time.perf_counter() - start_s
    response.headers["x-request-id"] = request.state.request_id
    service.metrics.request(dialect.name, response.status_code, duration_s)
    _LOG.info(
        "request",
        extra={
            "request_id": request.state.request_id,
            "protocol": dialect.name,
            "method": request.method,
            "path": request.scope["path"][:200],
            "status": response.status_code,
            "duration_ms": round(1000 * duration_s, 1),
        },
    )
    return response


def _dialect(request: Request, of_route: Dialect) -> Dialect:
    """Return the dialect that the body has shown, before that the one of the route."""
    dialect: Dialect = getattr(request.state, "dialect", of_route)
    return dialect


def _identify(request: Request, body_key: str | None) -> ApiKey | None:
    keys = request.app.state.keys
    if keys is None:
        return None
    presented = presented_keys(request.headers) or ([body_key] if body_key else [])
    identified: ApiKey = keys.identify(*presented)
    return identified


async def _read(request: Request, raw: bytearray, read: Callable[[bytearray], _Value]) -> _Value:
    """Return what is read from a body, outside the event loop where the body is large."""
    service: EmbeddingService = request.app.state.service
    settings = service.settings

    def checked() -> _Value:
        check_values(raw, settings)
        return read(raw)

    if len(raw) < LARGE_BYTES:
        return checked()
    return await service.lanes.run("parse", lambda _: checked())


async def _unless_gone(request: Request, work: Awaitable[Answer]) -> Answer:
    """Return the answer of the work, which is cancelled when the client leaves.

    Cancelling takes the client's texts out of the queue.

    Raises:
        ClientDisconnect: The client left.
    """
    task = asyncio.ensure_future(work)
    # The body is complete, so the next message can only be that the client has gone.
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
