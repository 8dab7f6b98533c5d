from __future__ import annotations

from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import FakeRest

from lusifer.reindex.endpoints.weaviate.shards import hold_writes, release_writes


def changes(rest: Any) -> dict[str, str]:
    return {path.rpartition("/")[2]: body["status"] for _, path, body in rest.sent}


@pytest.fixture
def rest() -> Any:
    made = FakeRest({"": []})
    made.shards = {"s1": "READY", "s2": "READONLY"}
    return made


def test_every_shard_is_held_and_released(rest: Any) -> None:
    hold_writes(rest, "A")
    assert changes(rest) == {"s1": "READONLY"}
    rest.sent.clear()
    release_writes(rest, "A")
    assert changes(rest) == {"s2": "READY"}


def test_with_tenants_those_that_are_active() -> None:
    rest: Any = FakeRest({"a": [], "b": [], "c": []})
    rest.statuses["b"] = "COLD"
    rest.shards = {"c": "READONLY"}
    hold_writes(rest, "A")
    release_writes(rest, "A")
    assert rest.sent == [
        ("PUT", "/schema/A/shards/a", {"status": "READONLY"}),
        ("PUT", "/schema/A/shards/c", {"status": "READY"}),
    ]
