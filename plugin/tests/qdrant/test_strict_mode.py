from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qdrant_client")

from qdrant_client import models

from lusifer.qdrant.strict_mode import examine_strict_mode
from lusifer.stores.diagnostics import ok

if TYPE_CHECKING:
    from lusifer.stores.diagnostics import Diagnostic


def examine(**strict: Any) -> list[Diagnostic]:
    config: Any = SimpleNamespace(
        config=SimpleNamespace(strict_mode_config=models.StrictModeConfigOutput(**strict)),
        payload_schema={"metadata.lang": 1},
        points_count=10,
    )
    return list(examine_strict_mode(config))


@pytest.mark.parametrize(
    ("strict", "severity", "said"),
    [
        ({"upsert_max_batchsize": 100}, "warning", "256 points in an upsert"),
        ({"max_query_limit": 10}, "warning", "256 points in a query"),
        ({"filter_max_conditions": 2}, "warning", "8 conditions"),
        ({"condition_max_size": 16}, "warning", "256 ids"),
        ({"max_timeout": 30}, "note", "longer timeout="),
        ({"unindexed_filtering_retrieve": False}, "note", "indexed are metadata.lang"),
        ({"read_rate_limit": 100}, "note", "100 a minute"),
        ({"write_rate_limit": 100}, "note", "100 a minute"),
        ({"max_points_count": 1_000_000}, "note", "1,000,000; the collection has 10 points"),
        ({"max_collection_vector_size_bytes": 1000}, "note", "1,000"),
        ({"max_query_limit": 100_000}, "ok", "no limit that applies"),
    ],
)
def test_limits(strict: Any, severity: str, said: str) -> None:
    (found,) = examine(enabled=True, **strict)
    assert (found.severity, said in found.message) == (severity, True)
    assert found.subject == "strict mode"
    assert severity == "ok" or found.fix
    (off,) = examine(enabled=False, **strict)
    assert off == ok("strict mode", "off")


def test_several_limits_at_once() -> None:
    found = examine(enabled=True, max_query_limit=10, max_timeout=30, read_rate_limit=5)
    assert [each.severity for each in found] == ["warning", "note", "note"]
