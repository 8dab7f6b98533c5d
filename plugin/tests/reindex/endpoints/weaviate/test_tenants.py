from __future__ import annotations

from typing import Any

import pytest
from plugin.tests.weaviate.fake_rest import FakeRest

from lusifer.errors import StoreError
from lusifer.reindex.endpoints.weaviate.tenants import Tenants, create_tenants, tenant_statuses


@pytest.fixture
def rest() -> Any:
    made = FakeRest({"a": [], "a-b": [], "c": []})
    made.statuses |= {"a": "COLD", "c": "COLD"}
    return made


def test_without_tenants_there_is_one_without_name() -> None:
    rest: Any = FakeRest({"": []})
    tenants = Tenants(rest, "A")
    assert tenants.names() == [""]
    assert tenants.within("", lambda: 3) == 3
    assert rest.sent == []


def test_an_inactive_tenant_is_active_while_it_is_needed(rest: Any) -> None:
    tenants = Tenants(rest, "A")
    assert tenants.names() == ["a-b", "a", "c"]
    seen = [
        tenants.within(name, lambda: dict(rest.statuses)) for name in ("a-b", "a", "a", "c", "a-b")
    ]
    assert [each["a"] for each in seen] == ["COLD", "HOT", "HOT", "COLD", "COLD"]
    assert [each["c"] for each in seen] == ["COLD", "COLD", "COLD", "HOT", "HOT"]
    tenants.put_back()
    assert rest.statuses == {"a": "COLD", "a-b": "HOT", "c": "COLD"}
    # What is needed again is made active again.
    assert tenants.within("a", lambda: rest.statuses["a"]) == "HOT"


def test_a_tenant_that_an_application_made_inactive_is_made_active_again(rest: Any) -> None:
    tenants = Tenants(rest, "A")
    tenants.names()
    rest.statuses["a-b"] = "COLD"
    answer = tenants.within("a-b", lambda: rest.get("/objects", tenant="a-b", limit=1, after=""))
    assert answer == {"objects": []}


def test_one_that_is_active_for_a_while_counts_as_inactive(rest: Any) -> None:
    tenants = Tenants(rest, "A", skipped=("c",))
    tenants.within("a", lambda: None)
    assert tenants.statuses() == {"a": "INACTIVE", "a-b": "ACTIVE"}
    # Somebody else made it inactive meanwhile.
    rest.statuses["a"] = "COLD"
    assert tenants.within("a", lambda: rest.get("/objects", tenant="a", limit=1, after=""))
    assert rest.statuses["a"] == "HOT"


def test_another_failure_is_raised(rest: Any) -> None:
    tenants, calls = Tenants(rest, "A"), list[int]()

    def fail() -> None:
        calls.append(1)
        raise StoreError("Full.", next_step="")

    with pytest.raises(StoreError, match="Full"):
        tenants.within("a-b", fail)
    assert calls == [1]


def test_skipped_tenants_have_no_name(rest: Any) -> None:
    assert Tenants(rest, "A", skipped=("a", "c", "gone")).names() == ["a-b"]


def test_tenants_are_created_a_hundred_at_a_time(rest: Any) -> None:
    create_tenants(rest, "A", {f"t{number}": "INACTIVE" for number in range(150)})
    assert [len(body) for _, _, body in rest.sent] == [100, 50]
    assert tenant_statuses(rest, "A")["t7"] == "INACTIVE"


def test_a_tenant_is_created_once(rest: Any) -> None:
    tenants = Tenants(rest, "A")
    tenants.create("a")
    tenants.create("new")
    tenants.create("new")
    assert rest.sent == [
        ("POST", "/schema/A/tenants", [{"name": "new", "activityStatus": "ACTIVE"}])
    ]
    assert "new" in tenants.names()
