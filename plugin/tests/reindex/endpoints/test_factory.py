from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.support import make_plan

from lusifer.errors import InvalidInputError, PlanError
from lusifer.reindex.endpoints.factory import open_file, open_migration
from lusifer.reindex.plan import Location, Plan

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_file_gets_its_fields_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("number,body,sprache\n7,ein Text,de\n")
    place = Location(kind="file", address=str(path), text_field="body", id_field="number")
    source = open_file(
        make_plan(source=place, language_field="sprache"), key_of=lambda id_: f"key-{id_}"
    )
    (record,) = source.sample(1, 0)
    assert (record.key, record.text, record.language) == ("key-7", "ein Text", "de")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    place = Location(kind="file", address=str(tmp_path / "absent.jsonl"))
    with pytest.raises(InvalidInputError, match="There is no file or folder"):
        open_file(make_plan(source=place))
