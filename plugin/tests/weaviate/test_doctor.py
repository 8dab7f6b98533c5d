"""The doctor on what a server says of itself, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from lusifer.weaviate.doctor import examine

pytest.importorskip("weaviate")


class Away:
    """A server of which only /v1/meta is there."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def get_meta(self) -> dict[str, Any]:
        return self.meta


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (
            {"version": "1.30.1", "modules": {"text2vec-cohere": {}}},
            {"version": "warning", "modules": "ok"},
        ),
        ({"version": "1.39.0", "modules": {}}, {"version": "ok", "modules": "error"}),
        ({"version": "1.39.0"}, {"version": "ok", "modules": "error"}),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"error": "dial"}}},
            {"reached": "warning"},
        ),
        (
            {"version": "1.39.0", "modules": {"text2vec-transformers": {"model": "t5"}}},
            {"reached": "note"},
        ),
        (
            {
                "version": "1.39.0",
                "modules": {"text2vec-transformers": {"name": "lusifer", "model": "m"}},
            },
            {"reached": "ok"},
        ),
    ],
)
def test_the_doctor_reads_what_the_server_says_of_itself(
    meta: dict[str, Any], expected: dict[str, str]
) -> None:
    found = {each.subject: each.severity for each in examine(Away(meta))}
    assert expected.items() <= found.items()
