from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lusifer.service.answers import Answer, SentInParts, json_response


def sent(response: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    asyncio.run(response({"type": "http"}, None, send))
    return messages


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 400_000])
def test_a_response_is_sent_in_parts_and_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    response = SentInParts(content[:size])
    start, *parts = sent(response)
    assert dict(start["headers"])[b"content-length"] == str(size).encode()
    assert b"".join(part["body"] for part in parts) == content[:size]
    assert max(len(part["body"]) for part in parts) <= 65_536
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]


def test_no_content_has_no_body() -> None:
    assert json_response(Answer(None, status=204)).body == b""
    assert json_response(Answer({"a": 1})).body == b'{"a":1}'
