"""Bodies on their way in: read within limits, and parsed where that can't stop other requests.

A parser makes an object of up to 300 bytes for a value of two bytes, and an error for each wrong
one. So the values of a body are counted before it is parsed, and a list ends at its first error.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from lusifer.errors import (
    MalformedRequestError,
    OverloadedError,
    RequestTooLargeError,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from lusifer.service.in_flight import RequestBytes
    from lusifer.service.settings import Settings

__all__ = ["LARGE_BYTES", "check_values", "parse", "read_body"]

_Body = TypeVar("_Body", bound=BaseModel)

LARGE_BYTES = 64 * 2**10
"""Size from which a body is parsed outside the event loop."""

_BODY_TIMEOUT_S = 30.0
"""Maximum seconds between two parts of a body."""

_VALUES_PER_TEXT = 16
"""JSON values that a text may come with: 9 in a body of Qdrant with all options."""
_VALUES_BESIDE = 1024
"""JSON values that a body may have beside its texts."""

_SHOWN_ERRORS = 3
_COUNTED_ERRORS = 100
"""Number of errors above which a body's errors are only counted."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENINGS = (b",", b"[", b"{")


async def read_body(request: Request, settings: Settings, held: RequestBytes) -> bytearray:
    """Return the whole body, holding no more of it in memory than the limits.

    Raises:
        RequestTooLargeError: The body is larger than the limit.
        OverloadedError: The account of bytes in flight is full, or the share of the key.
        MalformedRequestError: The client stopped sending, or sends too slowly.
        ClientDisconnect: The client left.
    """
    maximum_bytes = settings.maximum_body_bytes
    body = bytearray()
    refusal: OverloadedError | RequestTooLargeError | None = None
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
        if refusal is None:
            try:
                if size > maximum_bytes:
                    raise RequestTooLargeError(
                        f"The body has more than {maximum_bytes} bytes.",
                        next_step="Send fewer texts in one request.",
                    )
                held.take(len(part))
                body += part
            except (OverloadedError, RequestTooLargeError) as error:
                # Read on and discard: a client that is still sending would miss the answer.
                refusal, body = error, bytearray()
                held.replace(0)
        if size > 4 * maximum_bytes:
            break
    if refusal is not None:
        raise refusal
    return body


def check_values(raw: bytes | bytearray, settings: Settings) -> None:
    """Refuse a body with more JSON values than any use has.

    Raises:
        RequestTooLargeError: It has more.
    """
    maximum = _VALUES_BESIDE + _VALUES_PER_TEXT * settings.maximum_texts
    if sum(map(raw.count, _OPENINGS)) <= maximum:
        return
    # Texts have commas too: what is in strings does not count. An object has two strings a value.
    strings = 2 * maximum
    outside = _STRING.split(raw, strings)
    if len(outside) > strings or sum(map(b"".join(outside).count, _OPENINGS)) > maximum:
        raise RequestTooLargeError(
            f"The body has more than {maximum} JSON values.",
            next_step="Send fewer texts in one request, and only the fields that /openapi.json "
            "describes.",
        )


def parse(body: type[_Body], raw: bytes | bytearray) -> _Body:
    """Return the checked body.

    Raises:
        MalformedRequestError: It is not valid. The message has its first errors.
    """
    try:
        return body.model_validate_json(raw)
    except ValidationError as error:
        raise MalformedRequestError(
            f"The body is not valid: {_described(error)}.",
            next_step="Send the fields that /openapi.json describes.",
        ) from None


def _described(error: ValidationError) -> str:
    count = error.error_count()
    if count > _COUNTED_ERRORS:
        return f"it has {count} errors"
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    described = "; ".join(
        f"{'.'.join(str(part)[:50] for part in problem['loc'])}: {problem['msg']}".removeprefix(
            ": "
        )
        for problem in problems[:_SHOWN_ERRORS]
    )
    more = f" (and {count - _SHOWN_ERRORS} more)" if count > _SHOWN_ERRORS else ""
    return f"{described[:500]}{more}"
