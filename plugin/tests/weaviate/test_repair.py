"""Objects without index are deleted; those that are only late or gone are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.weaviate.fakes import FlakyCollection

from lusifer.weaviate.repair import delete_unindexed


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def run(request: Any) -> Any:
    return request()


def collection(*keys: str, unindexed: tuple[str, ...] = ()) -> Any:
    made = FlakyCollection()
    made.insert_many([SimpleNamespace(uuid=key, properties={}, vector={}) for key in keys])
    made.unindexed = set(unindexed)
    return made


def test_only_objects_that_no_filter_finds_are_deleted(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    made = collection("a", "b", "c", unindexed=("b",))
    assert delete_unindexed(made, ["a", "b", "gone"], run) == {"b"}
    assert set(made.objects) == {"a", "c"}
    assert pauses == [1.0]
    assert "No filter finds the stored object b" in caplog.text


def test_objects_that_are_gone_need_no_second_look(pauses: list[float]) -> None:
    assert delete_unindexed(collection("a"), ["gone"], run) == set()
    assert delete_unindexed(collection("a"), [], run) == set()
    assert pauses == []
