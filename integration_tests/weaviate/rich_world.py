"""The rich collections as a world of the state machine: applications write whole objects.

Whenever the machine looks at a side, each object's JSON is compared with what was written, to the
last field: nothing may be lost, and nothing changed.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any, Literal

import httpx
import numpy as np
from integration_tests.weaviate import rich_collection as rich
from numpy.typing import NDArray
from plugin.tests.reindex.support import NEW, OLD, make_plan

from lusifer.errors import StoreError
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.plan import Location, Plan
from lusifer.types import Document
from lusifer.weaviate.metadata import metadata_for
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import ID_PROPERTY, MARK_PROPERTY

Vector = NDArray[np.float32]
Side = Literal["live", "old", "new"]

_TENANTS = ("acme", "acme-eu")
"""Their order is not that of their objects' keys."""
_ASLEEP = "acme-asleep"
_SLEEPERS = 3
_SECOND = "second"
_ADDED = {"creationTimeUnix", "lastUpdateTimeUnix", "vectorWeights", "tenant", "class"}
"""Fields that the server adds."""


class RichWorld:
    """Two collections with every setting and data type behind an alias.

    With tenants, one is inactive all the time: its objects are copied, and it stays inactive.
    """

    in_place = False
    holds = ("old",)

    def __init__(self, url: str, http: httpx.Client, *, tenants: bool) -> None:
        self.http = http
        self.tenants = tenants
        base = f"Rich{uuid.uuid4().hex[:10]}"
        self.alias, self.old, self.new, self.other = (
            f"{base}{e}" for e in ("", "_v1", "_v2", "_o")
        )
        self._create({"class": self.other, "vectorizer": "none"})
        linked = {"class": self.other, "id": rich.object_id(1), "properties": {}}
        self._send("POST", "/batch/objects", {"objects": [linked]})
        known = metadata_for(self.old, OLD, text_property="body")
        schema = rich.schema(
            self.old,
            self.other,
            tenants=tenants,
            description=known.in_description(),
            dynamic=False,
            changeable=self.in_place,
        )
        own = [(ID_PROPERTY, "text"), ("lang", "text"), ("edit", "number")]
        schema["properties"] += [{"name": name, "dataType": [kind]} for name, kind in own]
        self._create(schema)
        self._send("POST", "/aliases", {"alias": self.alias, "class": self.old})
        if tenants:
            rows = [{"name": each} for each in (*_TENANTS, _ASLEEP)]
            self._send("POST", f"/schema/{self.old}/tenants", rows)
            for sleeper in self._sleepers():
                self._insert(self.old, sleeper, OLD.vector(sleeper.text), _ASLEEP)
            asleep = [{"name": _ASLEEP, "activityStatus": "INACTIVE"}]
            self._send("PUT", f"/schema/{self.old}/tenants", asleep)
        source = Location(kind="weaviate", address=url, collection=self.old)
        target = source.model_copy(update={"collection": self.new})
        self.plan: Plan = make_plan(
            source=source, target=target, alias=self.alias, shown_before=self.old
        )

    def migration(self) -> Migration[Any]:
        return open_migration(self.plan)

    def write(self, document: Document, vector: Vector, side: Side = "live") -> None:
        self._insert(self._collection(side), document, vector, self._tenant(document.id))

    def delete(self, document_id: str, side: Side = "live") -> None:
        tenant = self._tenant(document_id)
        path = f"/objects/{self._collection(side)}/{object_id(document_id)}"
        answer = self.http.delete(path, params={"tenant": tenant} if tenant else {})
        if answer.status_code not in {204, 404}:
            raise StoreError(answer.text, next_step="")

    def everything(self, side: Side) -> dict[str, tuple[Document, Vector | None]]:
        """Return what a side has, each object compared with what was written to it."""
        collection = self._collection(side)
        found: dict[str, tuple[Document, Vector | None]] = {}
        if self.http.get(f"/schema/{collection}").status_code == 404:
            return found
        for tenant in _TENANTS if self.tenants else ("",):
            found |= self._compared(collection, tenant)
        return found

    def close(self) -> None:
        """Look at the tenant that is asleep, and remove everything."""
        try:
            if self.tenants and sys.exc_info()[0] is None:
                self._check_sleepers()
        finally:
            self.http.delete(f"/aliases/{self.alias}")
            for each in (self.old, self.new, self.other):
                self.http.delete(f"/schema/{each}")

    def _check_sleepers(self) -> None:
        live = self.http.get(f"/aliases/{self.alias}").json()["class"]
        awake = [{"name": _ASLEEP, "activityStatus": "ACTIVE"}]
        self._send("PUT", f"/schema/{live}/tenants", awake)
        found = self._compared(live, _ASLEEP)
        model = NEW if live == self.new else OLD
        assert {id_: document for id_, (document, _) in found.items()} == {
            each.id: each for each in self._sleepers()
        }
        for document, vector in found.values():
            assert vector is not None
            np.testing.assert_allclose(vector, model.vector(document.text), atol=1e-5)

    def _compared(
        self, collection: str, tenant: str, vector_name: str = rich.REPLACED
    ) -> dict[str, tuple[Document, Vector | None]]:
        found: dict[str, tuple[Document, Vector | None]] = {}
        for each in rich.stored_objects(self.http, collection, tenant).values():
            properties = each["properties"]
            properties.pop(MARK_PROPERTY, None)
            metadata = {"edit": properties["edit"], "lang": properties["lang"]}
            document = Document(properties[ID_PROPERTY], properties["body"], metadata)
            vectors = {name: each["vectors"].pop(name, None) for name in (rich.REPLACED, _SECOND)}
            vector = vectors[vector_name]
            expected = self._object(collection, document, tenant)
            changed = rich.differences(expected, each)
            for name in [name for name in changed if name.endswith(".href") or name in _ADDED]:
                del changed[name]
            phone = [name for name in changed if name.startswith("properties.p_phoneNumber.")]
            for name in phone:
                was, now = changed.pop(name)
                assert was is None or (was, now) == ("nl", "NL")
            assert changed == {}, f"{collection} {tenant} {document.id}: {changed}"
            found[document.id] = (document, None if vector is None else np.float32(vector))
        return found

    def _object(self, collection: str, document: Document, tenant: str) -> rich.JSONObject:
        """Return a document as an object with all its values, which depend on its id and edit."""
        edit = int(str(document.metadata["edit"]))
        properties, vectors = rich.contents(edit % 4)
        # Weaviate 1.39 refuses coordinates after the last entry of their index was replaced.
        properties.pop("p_geoCoordinates", None)
        links = {"sees": [rich.beacon(self.other, 1)]}
        if not tenant:
            # With tenants, a reference to what is not there can't be written.
            links["self"] = [rich.beacon(collection, edit % 2)]
        own = {ID_PROPERTY: document.id, "body": document.text, **document.metadata}
        return {
            "class": collection,
            "id": object_id(document.id),
            "properties": {**properties, **own, **links},
            "vectors": vectors,
        }

    def _insert(
        self,
        collection: str,
        document: Document,
        vector: Vector,
        tenant: str,
        vector_name: str = rich.REPLACED,
    ) -> None:
        made = self._object(collection, document, tenant)
        made["vectors"][vector_name] = vector.tolist()
        own = {"tenant": tenant} if tenant else {}
        links = {
            name: made["properties"].pop(name)
            for name in ("sees", "self")
            if name in made["properties"]
        }
        self._send("POST", "/batch/objects", {"objects": [{**made, **own}]})
        source = f"weaviate://localhost/{collection}/{made['id']}"
        rows = [
            {"from": f"{source}/{name}", "to": each["beacon"], **own}
            for name, value in links.items()
            for each in value
        ]  # fmt: skip
        self._send("POST", "/batch/references", rows)

    def _sleepers(self) -> list[Document]:
        return [
            Document(f"sleeper/{n}", f"text {n}", {"edit": n, "lang": "en"})
            for n in range(_SLEEPERS)
        ]

    def _tenant(self, document_id: str) -> str:
        return _TENANTS[len(document_id) % 2] if self.tenants else ""

    def _collection(self, side: Side) -> str:
        return {"live": self.alias, "old": self.old, "new": self.new}[side]

    def _create(self, schema: rich.JSONObject) -> None:
        self._send("POST", "/schema", schema)

    def _send(self, method: str, path: str, body: object) -> None:
        answer = self.http.request(method, path, json=body)
        rows = answer.json() if answer.is_success and path.startswith("/batch") else []
        if not answer.is_success or any((each["result"].get("errors")) for each in rows):
            raise StoreError(answer.text[:1000], next_step="")


class RichVectorWorld(RichWorld):
    """One collection with every setting and data type, and two vectors of the same objects."""

    in_place = True

    def __init__(self, url: str, http: httpx.Client) -> None:
        super().__init__(url, http, tenants=False)
        source = self.plan.source
        target = source.model_copy(update={"vector_name": _SECOND})
        self.plan = make_plan(source=source, target=target, alias=None, in_place=True)

    def migration(self, *, backwards: bool = False) -> Migration[Any]:
        return open_migration(self.plan.reversed() if backwards else self.plan)

    def write(self, document: Document, vector: Vector, side: Side = "live") -> None:
        self._insert(self.old, document, vector, "", self._vector(side))

    def delete(self, document_id: str, side: Side = "live") -> None:
        super().delete(document_id, "old")

    def everything(self, side: Side) -> dict[str, tuple[Document, Vector | None]]:
        return self._compared(self.old, "", self._vector(side))

    def _vector(self, side: Side) -> str:
        return _SECOND if side == "new" else rich.REPLACED
