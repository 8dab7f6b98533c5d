from __future__ import annotations

import pytest

from lusifer.common.urls import has_key, without_key


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:6333", "http://localhost:6333"),
        ("https://any:s3cret@host:8000/qdrant", "https://host:8000/qdrant"),
        ("https://s3cret@host", "https://host"),
        ("http://a@b:s3cret@host", "http://host"),
        ("http://host/v1?api_key=s3cret#s3cret", "http://host/v1"),
        ("any:s3cret@host:6333", "host:6333"),
        ("http://[s3cret", "an address that can't be read"),
    ],
)
def test_an_address_is_shown_without_its_key(url: str, shown: str) -> None:
    assert without_key(url) == shown
    assert has_key(url) == ("s3cret" in url and "[" not in url and url != "any:s3cret@host:6333")
