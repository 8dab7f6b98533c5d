from __future__ import annotations

import pytest

from lusifer.service.answer_pieces import PIECE_BYTES, pieces_of


@pytest.mark.parametrize("size", [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
@pytest.mark.parametrize("more", [True, False])
def test_the_pieces_are_the_body_and_the_last_one_ends_it(size: int, more: bool) -> None:
    body = bytes(n % 251 for n in range(size))
    pieces = list(pieces_of({"type": "http.response.body", "body": body, "more_body": more}))
    assert b"".join(piece["body"] for piece in pieces) == body
    assert len(pieces) == -(-size // PIECE_BYTES)
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [more]
    assert {piece["type"] for piece in pieces} == {"http.response.body"}
