"""A stand-in for Weaviate's REST API with collections, tenants and objects in memory."""

from __future__ import annotations

from typing import Any

from lusifer.errors import IndexNotFoundError, StoreError, StoreUnavailableError

WRITTEN = 1_767_225_600_000
"""Time of the last write of every object, in ms."""


class FakeRest:
    """Answers as a server with one collection ``A`` does, and notes what changes it."""

    def __init__(self, tenants: dict[str, list[dict[str, Any]]]) -> None:
        self.objects = {
            name: {
                each["id"]: {"class": "A", "lastUpdateTimeUnix": WRITTEN, **each} for each in many
            }
            for name, many in tenants.items()
        }
        self.statuses = {name: "HOT" for name in tenants if name}
        self.schemas: dict[str, dict[str, Any]] = {
            "A": {
                "class": "A",
                "multiTenancyConfig": {"enabled": "" not in tenants},
                "properties": [],
            }
        }
        self.sent: list[tuple[str, str, Any]] = []
        self.gets: list[str] = []
        self.shards: dict[str, str] = {}
        """Statuses of the shards; with tenants, their names are the tenants'."""
        self.answers: list[Any] = []
        """Answers to the next requests with a body."""

    def get(self, path: str, collection: str = "", **options: Any) -> Any:
        self.gets.append(path)
        if path == "/objects":
            return {"objects": self._list(**options)}
        parts = path.strip("/").split("/")
        if parts[0] == "objects":
            found = self.objects.get(options.get("tenant", ""), {})
            if parts[2] not in found:
                raise IndexNotFoundError("No such object.", next_step="")
            return found[parts[2]]
        if parts[0] == "aliases":
            return {"aliases": []}
        if parts == ["schema"]:
            return {"classes": list(self.schemas.values())}
        if parts[-1] == "shards":
            wanted = [options["tenant"]] if options else list(self.shards)
            if any(self.statuses.get(name, "HOT") != "HOT" for name in wanted):
                raise StoreUnavailableError("Local shard not found.", next_step="")
            return [{"name": name, "status": self.shards.get(name, "READY")} for name in wanted]
        if parts[1] not in self.schemas:
            raise IndexNotFoundError("No such collection.", next_step="")
        if parts[-1] == "tenants":
            return [{"name": n, "activityStatus": each} for n, each in self.statuses.items()]
        return self.schemas[parts[1]]

    def send(self, method: str, path: str, body: Any, collection: str = "") -> Any:
        self.sent.append((method, path, body))
        if path.endswith("/tenants"):
            names = {"ACTIVE": "HOT", "INACTIVE": "COLD"}
            self.statuses |= {each["name"]: names[each["activityStatus"]] for each in body}
        if not path.startswith("/batch"):
            return None
        rows = body["objects"] if path == "/batch/objects" else body
        results = self.answers.pop(0) if self.answers else [{"result": {}} for _ in rows]
        return [
            {**row, "lastUpdateTimeUnix": WRITTEN + 1, **result}
            for row, result in zip(rows, results, strict=True)
        ]

    def close(self) -> None:
        """Do nothing."""

    def _list(self, *, limit: int, after: str, tenant: str = "", **_: Any) -> list[dict[str, Any]]:
        if self.statuses.get(tenant, "HOT") != "HOT":
            raise StoreError(
                f"The tenant {tenant} of the collection A is not active.", next_step=""
            )
        found = self.objects[tenant]
        return [found[key] for key in sorted(found) if key > after][:limit]
