from __future__ import annotations

import pytest

from lusifer.service.paths import normalized


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/embed", "/embed"),
        ("embed", "/embed"),
        ("/embed/", "/embed"),
        ("//v1//embeddings///", "/v1/embeddings"),
        ("/.well-known/live", "/.well-known/live"),
    ],
)
def test_single_slashes_and_none_at_the_end(path: str, expected: str) -> None:
    assert normalized(path) == expected
