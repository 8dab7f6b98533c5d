"""Answers in pieces, so that none is copied whole into the buffers of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message

__all__ = ["PIECE_BYTES", "pieces_of"]

PIECE_BYTES = 65_536
"""Maximum bytes that are written at once."""


def pieces_of(message: Message) -> Iterator[Message]:
    """Yield messages of at most :data:`PIECE_BYTES` that together send the same body.

    Args:
        message: An ASGI message of type ``http.response.body``.
    """
    body = memoryview(message["body"])
    for start in range(0, len(body), PIECE_BYTES):
        is_last = start + PIECE_BYTES >= len(body)
        yield {
            "type": message["type"],
            "body": body[start : start + PIECE_BYTES],
            "more_body": not is_last or message.get("more_body", False),
        }
