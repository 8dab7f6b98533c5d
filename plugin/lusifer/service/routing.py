"""The HTTP side that every protocol shares: keys, body limits, errors in its form, lost clients.

A protocol's module defines its bodies and how they map to texts and a role. Everything else is
here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lusifer.errors import (
    DeadlineExceededError,
    ForbiddenError,
    InvalidInputError,
    KeyLimitError,
    LusiferError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotServedError,
    OverloadedError,
    RequestTooLargeError,
    ServiceError,
    UnauthorizedError,
    UnknownModelError,
)
from lusifer.service.auth import presented_key
from lusifer.service.embedding_service import Caller, EmbeddingService
from lusifer.service.logs import request_id_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.routing import BaseRoute

    from lusifer.service.auth import ApiKey
    from lusifer.service.metrics import Rejection
    from lusifer.service.settings import Settings

__all__ = [
    "Answer",
    "Dialect",
    "Operation",
    "authenticated",
    "dialect_of",
    "get",
    "post",
    "respond",
]

_LOG = logging.getLogger("lusifer.service")

_Body = TypeVar("_Body", bound=BaseModel)

_BODY_TIMEOUT_S = 30.0
"""Maximum seconds between two parts of a body."""

CLIENT_CLOSED_REQUEST = 499
"""Status of a client that left, for logs and metrics. Nobody receives it."""


@dataclass(frozen=True)
class Answer:
    """Answer of a handler."""

    content: object
    """A JSON-ready value, or bytes that are sent as they are. Float32 arrays are written in their
    shortest exact form."""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    """HTTP status. An answer with 204 has no content."""


@dataclass(frozen=True)
class Dialect:
    """Form of errors and keys in one protocol."""

    name: str
    error_body: Callable[[LusiferError], Mapping[str, object]]
    statuses: Mapping[type[LusiferError], int] = field(default_factory=dict)
    """Statuses other than the error's own, by class. They hold for subclasses too."""
    body_key: Callable[[BaseModel], str | None] | None = None
    """Returns the API key that a parsed body carries, for a protocol whose bodies may have one."""

    def status(self, error: LusiferError) -> int:
        """Return the HTTP status of an error in this protocol."""
        for cls in type(error).__mro__:
            if issubclass(cls, LusiferError) and cls in self.statuses:
                return self.statuses[cls]
        return error.status


@dataclass(frozen=True)
class Operation:
    """Description of a route for the OpenAPI document, and the dialect of its errors."""

    dialect: Dialect
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    public: bool = False
    media_type: str = "application/json"


def post(
    path: str,
    dialect: Dialect,
    body: type[_Body],
    handle: Callable[[_Body, EmbeddingService, Caller], Awaitable[Answer]],
    *,
    summary: str,
    answer: type[BaseModel] | None = None,
) -> Route:
    """Make a route that reads JSON whatever its Content-Type, because Weaviate sends none."""

    async def work(request: Request) -> Answer:
        service: EmbeddingService = request.app.state.service
        caller = _caller(
            _identify(request, None) if dialect.body_key is None else None, request, dialect
        )
        raw = await _read_body(request, service.settings)
        start_s = time.perf_counter()
        parsed = _parse(body, raw)
        service.metrics.stage("parse", time.perf_counter() - start_s)
        if dialect.body_key is not None:
            caller = _caller(_identify(request, dialect.body_key(parsed)), request, dialect)
        return await _unless_gone(request, handle(parsed, service, caller))

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


def _error_response(error: LusiferError, dialect: Dialect) -> Response:
    """Return the error in the protocol's form, with ``Retry-After`` where a retry helps."""
    headers = {}
    if error.retryable:
        headers["retry-after"] = str(math.ceil(getattr(error, "retry_after_s", 1.0)))
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = "Bearer"
    return Response(
        # Messages quote the request, and a lone surrogate in it can't be written as UTF-8.
        orjson.dumps(dialect.error_body(error), default=str),
        dialect.status(error),
        headers,
        "application/json",
    )


def dialect_of(route: BaseRoute) -> Dialect | None:
    """Return the dialect of a route, None for a route outside the protocols."""
    operation: Operation | None = getattr(route, "operation", None)
    return operation.dialect if operation else None


def _route(
    path: str, method: str, operation: Operation, work: Callable[[Request], Awaitable[Answer]]
) -> Route:
    name = f"{operation.dialect.name} {method} {path}"

    async def endpoint(request: Request) -> Response:
        with request.app.state.tracer.request(name, request.headers) as span:
            response = await respond(request, operation.dialect, work)
            if span is not None:
                span.set_attribute("http.response.status_code", response.status_code)
                span.set_attribute("lusifer.request_id", request.state.request_id)
            return response

    route = Route(path, endpoint, methods=[method], name=name)
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
        response = _json(await work(request), service)
    except LusiferError as error:
        service.metrics.rejected(_reason(error))
        response = _error_response(error, dialect)
    except ClientDisconnect:
        service.metrics.rejected("disconnected")
        response = Response(status_code=CLIENT_CLOSED_REQUEST)
    except Exception:
        _LOG.exception("request failed", extra={"request_id": request.state.request_id})
        service.metrics.rejected("failed")
        response = _error_response(
            ServiceError(
                "The service failed on this request.",
                next_step=f"Search the service's log for request_id {request.state.request_id}.",
            ),
            dialect,
        )
    finally:
        service.in_flight_requests -= 1
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


def _json(answer: Answer, service: EmbeddingService) -> Response:
    if answer.status == 204:
        return Response(status_code=204, headers=dict(answer.headers))
    start_s = time.perf_counter()
    # On the loop: orjson holds Python's lock while it writes, so a thread would not help.
    content = (
        answer.content
        if isinstance(answer.content, bytes)
        else orjson.dumps(answer.content, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    service.metrics.stage("serialize", time.perf_counter() - start_s)
    return Response(content, answer.status, {"content-type": "application/json", **answer.headers})


def _reason(error: LusiferError) -> Rejection:
    if isinstance(error, KeyLimitError):
        return "key_limit"
    if isinstance(error, OverloadedError):
        return "queue_full"
    if isinstance(error, RequestTooLargeError):
        return "too_large"
    if isinstance(error, DeadlineExceededError):
        return "deadline"
    if isinstance(error, UnauthorizedError):
        return "unauthorized"
    if isinstance(error, ForbiddenError):
        return "browser"
    if isinstance(
        error, NotServedError | MethodNotAllowedError | UnknownModelError | InvalidInputError
    ):
        return "invalid"
    return "failed"


def _identify(request: Request, body_key: str | None) -> ApiKey | None:
    keys = request.app.state.keys
    if keys is None:
        return None
    identified: ApiKey = keys.identify(presented_key(request.headers) or body_key)
    return identified


def _caller(key: ApiKey | None, request: Request, dialect: Dialect) -> Caller:
    return Caller(
        key=key.name if key else None,
        request_id=request.state.request_id,
        protocol=dialect.name,
        maximum_texts=key.maximum_texts if key else None,
        tokens_per_minute=key.tokens_per_minute if key else None,
    )


async def _read_body(request: Request, settings: Settings) -> bytes:
    """Return the whole body, holding no more of it in memory than the limit.

    Raises:
        RequestTooLargeError: The body is larger than the limit.
        MalformedRequestError: The client stopped sending, or sends too slowly.
        ClientDisconnect: The client left.
    """
    maximum_bytes = settings.maximum_body_bytes
    parts: list[bytes] = []
    size = 0
    stream = request.stream()
    ends_s = time.monotonic() + settings.deadline_s
    while True:
        try:
            async with asyncio.timeout(min(_BODY_TIMEOUT_S, ends_s - time.monotonic())):
                part = await anext(stream, None)
        except TimeoutError:
            raise MalformedRequestError(
                f"The body stopped after {size} bytes: the next part must come within "
                f"{_BODY_TIMEOUT_S:g} s, the whole of it within {settings.deadline_s:g} s.",
                next_step="Send the whole body at once.",
            ) from None
        if part is None:
            break
        size += len(part)
        if size <= maximum_bytes:
            parts.append(part)
        elif size > 4 * maximum_bytes:
            break
        else:
            # Read on and discard: a client that is still sending would miss the answer.
            parts.clear()
    if size > maximum_bytes:
        raise RequestTooLargeError(
            f"The body has more than {maximum_bytes} bytes.",
            next_step="Send fewer texts in one request.",
        )
    return b"".join(parts)


def _parse(body: type[_Body], raw: bytes) -> _Body:
    try:
        # On the loop, as for writing: the parser holds Python's lock too.
        return body.model_validate_json(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        described = "; ".join(
            f"{'.'.join(str(part)[:50] for part in problem['loc'])}: {problem['msg']}".removeprefix(
                ": "
            )
            for problem in problems[:3]
        )
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise MalformedRequestError(
            f"The body is not valid: {described[:500]}{more}.",
            next_step="Send the fields that /openapi.json describes.",
        ) from None


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
