from __future__ import annotations

import pytest

from lusifer.errors import PlanError
from lusifer.reindex.endpoints.alias import AliasCutover


class Server(AliasCutover):
    """Aliases and collections in memory."""

    def __init__(self, source: str | None, alias: str | None = "live") -> None:
        super().__init__(alias=alias, source=source, target="v2")
        self.aliases = {} if source is None else {"live": source}
        self.deleted: list[str] = []

    def prepare(self) -> None:
        """Do nothing."""

    def _find_alias(self) -> str | None:
        return self.aliases.get(self._name)

    def _set_alias(self, collection: str) -> None:
        self.aliases[self._name] = collection

    def _delete_alias(self) -> None:
        del self.aliases[self._name]

    def _delete_collection(self, collection: str) -> str:
        self.deleted.append(collection)
        return f"the collection {collection}"


def test_an_alias_goes_to_the_target_and_back() -> None:
    server = Server("v1")
    assert not server.is_live()
    server.activate()
    assert server.is_live()
    assert server.aliases == {"live": "v2"}
    server.deactivate()
    assert server.aliases == {"live": "v1"}
    assert (server.remove_source(), server.remove_target()) == (
        "the collection v1",
        "the collection v2",
    )
    assert server.deleted == ["v1", "v2"]


@pytest.mark.parametrize("other", [None, "somebody's"])
def test_an_alias_that_was_not_there_is_deleted_again(other: str | None) -> None:
    server = Server(None)
    server.activate()
    server.deactivate()
    assert server.aliases == {}
    assert server.remove_source() == "nothing"
    # An alias that points to another collection now is left alone.
    server.aliases = {} if other is None else {"live": other}
    server.deactivate()
    assert server.aliases == ({} if other is None else {"live": other})


def test_a_plan_without_alias_can_not_be_switched() -> None:
    server = Server("v1", alias=None)
    assert not server.is_live()
    with pytest.raises(PlanError, match="The plan names no alias to switch"):
        server.activate()
