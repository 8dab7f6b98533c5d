"""Answers and errors on their way out, in the form of each protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

from lusifer.errors import (
    DeadlineExceededError,
    ForbiddenError,
    InvalidInputError,
    KeyLimitError,
    LusiferError,
    MethodNotAllowedError,
    NotServedError,
    OverloadedError,
    RequestTooLargeError,
    UnauthorizedError,
    UnknownModelError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from lusifer.service.metrics import Rejection

__all__ = ["Answer", "Dialect", "SentInParts", "error_response", "json_response", "reason_of"]

_PART_BYTES = 64 * 2**10
"""Bytes of an answer that are given to the connection at once."""


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
    body_key: Callable[[bytearray], str | None] | None = None
    """Returns the API key in a body that is not checked otherwise, for a protocol whose bodies may
    have one."""

    def status(self, error: LusiferError) -> int:
        """Return the HTTP status of an error in this protocol."""
        for cls in type(error).__mro__:
            if issubclass(cls, LusiferError) and cls in self.statuses:
                return self.statuses[cls]
        return error.status


class SentInParts(Response):
    """A response that is given to the connection part by part, as fast as the client reads.

    The call ends when the client has taken all but the last bytes. Until then the rest is held
    here, where the account of bytes in flight sees it, and not in the connection's buffer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        if len(self.body) <= _PART_BYTES:
            await super().__call__(scope, receive, send)
            return
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        for start in range(0, len(self.body), _PART_BYTES):
            part = bytes(self.body[start : start + _PART_BYTES])
            await send({"type": "http.response.body", "body": part, "more_body": True})
        # The server waits for the client before each part, so this one waits for the last.
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_response(answer: Answer) -> Response:
    """Return the response of an answer.

    It is written on the event loop: orjson holds Python's lock, so a thread would not help.
    """
    if answer.status == 204:
        return Response(status_code=204, headers=dict(answer.headers))
    content = (
        answer.content
        if isinstance(answer.content, bytes)
        else orjson.dumps(answer.content, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    headers = {"content-type": "application/json", **answer.headers}
    return SentInParts(content, answer.status, headers)


def error_response(error: LusiferError, dialect: Dialect) -> Response:
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


def reason_of(error: LusiferError) -> Rejection:
    """Return the reason by which the metrics count a refused request."""
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
