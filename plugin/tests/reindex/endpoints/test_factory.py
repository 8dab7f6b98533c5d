from __future__ import annotations

from typing import Any

import pytest
from plugin.tests.reindex.support import make_plan

from lusifer.errors import PlanError
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.plan import Location, Plan


def on_qdrant(**changes: Any) -> Plan:
    place = Location(kind="qdrant", address="http://127.0.0.1:9", collection="v1")
    return make_plan(source=place, target=place, **changes)


@pytest.mark.parametrize(
    ("in_place", "message"),
    [
        (True, "In place nothing can be missed at the cutover."),
        (False, "Qdrant can't refuse writes to a single collection."),
    ],
)
def test_writes_are_held_only_where_they_can_be(in_place: bool, message: str) -> None:
    with pytest.raises(PlanError) as refused:
        open_migration(on_qdrant(in_place=in_place), hold_writes=True)
    assert refused.value.message == message
