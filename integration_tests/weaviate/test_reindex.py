"""Re-embedding on a real Weaviate while applications write, behind an alias and in place."""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis.stateful import run_state_machine_as_test
from integration_tests.weaviate_server import RunningWeaviate
from numpy.typing import NDArray
from plugin.tests.conftest import make_bundle
from plugin.tests.reindex.support import NEW, OLD, make_plan
from plugin.tests.reindex_machine import AliasMachine, InPlaceMachine, machine_settings
from plugin.tests.reindex_world import Killed, Side, cut_over_while, written_again
from typer.testing import CliRunner
from weaviate.classes.query import QueryReference
from weaviate.exceptions import UnexpectedStatusCodeError

from lusifer.bundle.format import Bundle
from lusifer.cli.app import app
from lusifer.errors import StoreBusyError
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.endpoints.base import Migration
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.job import Job
from lusifer.reindex.plan import Location, Plan
from lusifer.reindex.rollback import rollback
from lusifer.reindex.runner import run
from lusifer.types import Document
from lusifer.weaviate.metadata import metadata_for, parse_metadata
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.schema import ID_PROPERTY, create_collection
from lusifer.weaviate.store import WeaviateStore

pytestmark = pytest.mark.usefixtures("environment")

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def environment(weaviate_server: RunningWeaviate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(weaviate_server.grpc_port))


class WeaviateWorld:
    """Two collections and an alias."""

    in_place = False
    holds = ("old",)

    def __init__(
        self, server: RunningWeaviate, client: Any, *, freezes_writes: bool = False
    ) -> None:
        self.client = client
        self.freezes_writes = freezes_writes
        base = f"Test{uuid.uuid4().hex[:12]}"
        self.alias, self.old, self.new = base, f"{base}_v1", f"{base}_v2"
        create_collection(
            client, metadata_for(self.old, OLD), service_url=NOWHERE, alias=self.alias
        )
        source = Location(kind="weaviate", address=server.url, collection=self.old)
        target = source.model_copy(update={"collection": self.new})
        self.plan: Plan = make_plan(
            source=source, target=target, alias=self.alias, shown_before=self.old
        )

    def migration(self) -> Migration:
        return open_migration(self.plan, hold_writes=self.freezes_writes)

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        properties = {"text": document.text, ID_PROPERTY: document.id, **document.metadata}
        arguments = {
            "uuid": object_id(document.id),
            "properties": properties,
            "vector": {"lusifer": vector.tolist()},
        }
        handle = self.client.collections.get(self._name(side))
        if handle.data.exists(arguments["uuid"]):
            handle.data.replace(**arguments)
        else:
            handle.data.insert(**arguments)

    def delete(self, document_id: str, side: Side = "live") -> None:
        self.client.collections.get(self._name(side)).data.delete_by_id(object_id(document_id))

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        if not self.client.collections.exists(self._name(side)):
            return {}
        return documents_of(self.client, self._name(side), "lusifer")

    def _name(self, side: Side) -> str:
        return {"live": self.alias, "old": self.old, "new": self.new}[side]

    def close(self) -> None:
        self.client.alias.delete(alias_name=self.alias)
        for name in (self.old, self.new):
            self.client.collections.delete(name)


class VectorWorld:
    """One collection, two vectors."""

    in_place = True
    holds = ()

    def __init__(self, server: RunningWeaviate, client: Any) -> None:
        from weaviate.classes.config import Configure, DataType, Property

        self.client = client
        self.name = f"Test{uuid.uuid4().hex[:12]}"
        client.collections.create(
            self.name,
            description=metadata_for(self.name, OLD).in_description("Made for a test."),
            properties=[
                Property(name=each, data_type=DataType.TEXT) for each in ("text", ID_PROPERTY)
            ],
            vector_config=[Configure.Vectors.self_provided(name="lusifer")],
        )
        source = Location(kind="weaviate", address=server.url, collection=self.name)
        target = source.model_copy(update={"vector_name": "second"})
        self.plan: Plan = make_plan(source=source, target=target, alias=None, in_place=True)

    def migration(self, *, backwards: bool = False) -> Migration:
        return open_migration(self.plan.reversed() if backwards else self.plan)

    def write(self, document: Document, vector: NDArray[np.float32], side: Side = "live") -> None:
        handle = self.client.collections.get(self.name)
        key = object_id(document.id)
        properties = {"text": document.text, ID_PROPERTY: document.id, **document.metadata}
        shown = {"old": "lusifer", "new": "second"}.get(side)
        shown = shown or parse_metadata(self.name, handle.config.get()).vector_name
        write = handle.data.replace if handle.data.exists(key) else handle.data.insert
        write(uuid=key, properties=properties, vector={shown: vector.tolist()})

    def delete(self, document_id: str, side: Side = "live") -> None:
        self.client.collections.get(self.name).data.delete_by_id(object_id(document_id))

    def everything(self, side: Side) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        return documents_of(self.client, self.name, "second" if side == "new" else "lusifer")

    def close(self) -> None:
        self.client.collections.delete(self.name)


def documents_of(
    client: Any, collection: str, vector_name: str
) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
    found = {}
    for each in client.collections.get(collection).iterator(include_vector=True):
        properties = each.properties
        metadata = {"edit": properties["edit"], "lang": properties["lang"]}
        document = Document(properties[ID_PROPERTY], properties["text"], metadata)
        vector = each.vector.get(vector_name)
        found[document.id] = (document, np.asarray(vector, dtype=np.float32) if vector else None)
    return found


@pytest.mark.parametrize("way", ["alias", "alias, writes held", "in place"])
def test_applications_write_all_the_while(
    weaviate_server: RunningWeaviate, client: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = "held" in way
    monkeypatch.setattr("lusifer.reindex.endpoints.weaviate.collection._LAST_WRITE_S", 0)
    machine: Any = InPlaceMachine if way == "in place" else AliasMachine

    class WeaviateMachine(machine):  # type: ignore[misc]
        @staticmethod
        def make_world(folder: Path) -> Any:
            if way == "in place":
                return VectorWorld(weaviate_server, client)
            return WeaviateWorld(weaviate_server, client, freezes_writes=held)

    run_state_machine_as_test(WeaviateMachine, settings=machine_settings(2 if held else 3, 8))


@pytest.mark.parametrize("kind", [WeaviateWorld, VectorWorld])
def test_what_an_application_takes_away_and_brings_back_at_the_switch(
    weaviate_server: RunningWeaviate, client: Any, kind: Any, tmp_path: Path
) -> None:
    world = kind(weaviate_server, client)
    try:
        written_again(world, tmp_path)
    finally:
        world.close()


def test_what_a_crash_left_without_index_is_copied_again(
    weaviate_server: RunningWeaviate, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server killed while it wrote has objects that no filter finds; here the filter omits two."""
    world = WeaviateWorld(weaviate_server, client)
    documents = [Document(f"doc/{n}", f"text {n}", {"edit": 0, "lang": "en"}) for n in range(5)]
    lost = {object_id("doc/1"), object_id("doc/3")}
    query, data = (
        type(getattr(client.collections.get(world.old), part)) for part in ("query", "data")
    )
    find, delete, deleted = query.fetch_objects_by_ids, data.delete_by_id, list[str]()

    def finding(self: Any, ids: Any, **options: Any) -> Any:
        answer = find(self, ids, **options)
        answer.objects = [
            each for each in answer.objects if str(each.uuid) not in lost - set(deleted)
        ]
        return answer

    def deleting(self: Any, key: str) -> bool:
        deleted.append(key)
        return bool(delete(self, key))

    monkeypatch.setattr(query, "fetch_objects_by_ids", finding)
    monkeypatch.setattr(data, "delete_by_id", deleting)
    try:
        for document in documents:
            world.write(document, OLD.vector(document.text))
        job = Job.create(tmp_path / "job", make_plan())
        with closing(world.migration()) as migration, job.locked():
            assert run(job, migration, NEW).phase == "settled"
        assert sorted(deleted) == sorted(lost)
        copies = documents_of(client, world.new, "lusifer")
        assert set(copies) == {each.id for each in documents}
        for document in documents:
            np.testing.assert_allclose(copies[document.id][1], NEW.vector(document.text), atol=1e-5)
    finally:
        world.close()


def test_in_place_a_vector_kept_from_an_older_text_is_made_again(
    weaviate_server: RunningWeaviate, client: Any, tmp_path: Path
) -> None:
    """``lusifer index`` keeps other vectors, and an application may edit a part of an object."""
    from weaviate.classes.config import ReferenceProperty

    world = VectorWorld(weaviate_server, client)
    first, second = (Document(f"doc/{n}", f"text {n}", {"edit": 0, "lang": "en"}) for n in range(2))
    try:
        handle = client.collections.get(world.name)
        handle.config.add_reference(ReferenceProperty(name="sees", target_collection=world.name))
        for document in (first, second):
            world.write(document, OLD.vector(document.text))
        handle.data.reference_add(object_id(first.id), "sees", object_id(second.id))
        job = Job.create(tmp_path / "job", make_plan(in_place=True))
        with closing(world.migration()) as migration, job.locked():
            assert run(job, migration, NEW).phase == "settled"
        with WeaviateStore.open(
            weaviate_server.client(), world.name, fingerprint=OLD.fingerprint, model="old"
        ) as store:
            store.upsert([replace(first, text="other")], OLD.vector("other")[None])
            (hit,) = store.search(OLD.vector("other"), 1)
            assert hit.metadata == first.metadata
        handle.data.update(object_id(second.id), properties={"text": "a part"})
        found = world.everything("new")
        for document in (first, second):
            np.testing.assert_allclose(found[document.id][1], NEW.vector(document.text), atol=1e-5)
        with closing(world.migration()) as migration, job.locked():
            assert run(job, migration, NEW).phase == "settled"
            cut_over(job, migration, NEW, force=True)
        found = world.everything("new")
        for document, text in ((first, "other"), (second, "a part")):
            np.testing.assert_allclose(found[document.id][1], NEW.vector(text), atol=1e-5)
        linked = handle.query.fetch_object_by_id(
            object_id(first.id), return_references=QueryReference(link_on="sees")
        )
        assert [str(each.uuid) for each in linked.references["sees"].objects] == [
            object_id(second.id)
        ]
        assert handle.config.get().description.startswith("Made for a test.")
    finally:
        world.close()


def test_in_place_through_the_command_and_back(
    weaviate_server: RunningWeaviate, client: Any, name: str, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "staging", tmp_path / "bundle", seed=1)
    new = Bundle.open(tmp_path / "bundle").manifest
    create_collection(client, metadata_for(name, OLD), service_url=NOWHERE)
    handle = client.collections.get(name)
    for n in range(20):
        vector = {"lusifer": OLD.vector(f"text {n}").tolist()}
        handle.data.insert({"text": f"text {n}", "lang": "en"}, vector=vector)
    where = target_options(weaviate_server, name, tmp_path / "bundle")
    job = str(tmp_path / "job")
    planning = [
        "plan",
        *where,
        "--job",
        job,
        "--window",
        "8",
        "--in-place",
        "--vector-name",
        "second",
    ]
    result = CliRunner().invoke(app, ["reindex", *planning, "--json"])
    assert "with the old model" in json.loads(result.stdout)["error"]["message"]
    command(*planning, "--service-address", NOWHERE, "--dimension", "4")
    assert set(handle.config.get().vector_config) == {"lusifer"}
    assert command("run", job)["totals"]["written"] == 20
    assert parse_metadata(name, handle.config.get()).fingerprint == OLD.fingerprint
    assert verified(job)["verification"]["problems"] == []
    command("switch", job, "--force")
    shown = parse_metadata(name, handle.config.get())
    assert (shown.fingerprint, shown.vector_name, shown.dimension) == (new.fingerprint, "second", 4)
    asks = handle.config.get().vector_config["second"].vectorizer
    assert (asks.model["dimensions"], asks.source_properties) == (4, ["text"])
    command("rollback", job)
    assert parse_metadata(name, handle.config.get()) == metadata_for(name, OLD)
    assert "keeps the vector second" in command("clean", job, "--yes")["removed"]


def test_with_writes_held_nothing_is_written_between_the_last_pass_and_the_switch(
    weaviate_server: RunningWeaviate, client: Any, tmp_path: Path
) -> None:
    world = WeaviateWorld(weaviate_server, client, freezes_writes=True)
    first, late = (Document(f"doc/{n}", f"text {n}", {"edit": 0, "lang": "en"}) for n in range(2))
    tries: list[str] = []

    def refused() -> None:
        for attempt in (
            lambda: world.write(late, OLD.vector(late.text)),
            lambda: world.delete(first.id),
        ):
            with pytest.raises(UnexpectedStatusCodeError, match="manually set by user"):
                attempt()
        # Our own command waits until writes are allowed.
        store = WeaviateStore.open(
            weaviate_server.client(),
            world.old,
            fingerprint=OLD.fingerprint,
            model="old",
            retry_for_s=0,
        )
        with store, pytest.raises(StoreBusyError, match="refuses writes"):
            store.upsert([late], OLD.vector(late.text)[None])
        assert set(world.everything("old")) == {first.id}
        tries.append("refused")

    def killed() -> None:
        raise Killed

    try:
        world.write(first, OLD.vector(first.text))
        shards = client.collections.get(world.old).config
        job = Job.create(tmp_path / "job", make_plan())
        with closing(world.migration()) as migration, job.locked():
            run(job, migration, NEW)
        with closing(world.migration()) as migration, pytest.raises(Killed):
            cut_over_while(job, migration, before=refused, at_the_switch=killed, after=killed)
        assert tries == ["refused"]
        # A process that is killed leaves this behind.
        shards.update_shards("READONLY")
        with closing(world.migration()) as migration, job.locked():
            cut_over(job, migration, NEW)
        # Late writers reach the old collection again, and applications the new one.
        straggler = {"text": "late", ID_PROPERTY: "late", "edit": 0, "lang": "en"}
        vector = {"lusifer": OLD.vector("late").tolist()}
        client.collections.get(world.old).data.insert(
            straggler, uuid=object_id("late"), vector=vector
        )
        world.write(late, NEW.vector(late.text))
        with closing(world.migration()) as migration, job.locked():
            assert cut_over(job, migration, NEW).reconciled == 1
            assert set(world.everything("new")) == {first.id, late.id, "late"}
            shards.update_shards("READONLY")
            rollback(job, migration)
        world.write(late, OLD.vector(late.text))
        assert set(world.everything("old")) == {first.id, late.id, "late"}
    finally:
        world.close()


def test_tenants_references_blobs_and_other_vectors_go_along(
    weaviate_server: RunningWeaviate, client: Any, name: str, tmp_path: Path
) -> None:
    """The commands copy all properties, types and links of every tenant, and roll back."""
    from weaviate.classes.config import Configure, DataType, Property, ReferenceProperty
    from weaviate.classes.data import DataObject
    from weaviate.classes.tenants import Tenant
    from weaviate.util import generate_uuid5

    old, alias = f"{name}_v1", f"{name}Live"
    make_bundle(tmp_path / "staging", tmp_path / "bundle", seed=1)
    new = Bundle.open(tmp_path / "bundle")
    create_collection(
        client, metadata_for(old, OLD), service_url=NOWHERE, alias=alias, tenants=True,
        properties=[
            Property(name="picture", data_type=DataType.BLOB),
            Property(name="born", data_type=DataType.DATE),
            Property(
                name="author", data_type=DataType.OBJECT,
                nested_properties=[Property(name="name", data_type=DataType.TEXT)],
            ),
        ],
    )  # fmt: skip
    handle = client.collections.get(old)
    handle.config.add_reference(ReferenceProperty(name="sees", target_collection=old))
    handle.config.add_vector(vector_config=Configure.Vectors.self_provided(name="other"))
    handle.tenants.create([Tenant(name="b"), Tenant(name="a")])
    picture = base64.b64encode(b"picture").decode()
    for tenant in ("a", "b"):
        objects = handle.with_tenant(tenant).data
        answer = objects.insert_many(
            [
                DataObject(
                    uuid=generate_uuid5(n),
                    properties={
                        "text": f"{tenant} text {n}",
                        "lang": "en",
                        "picture": picture,
                        "born": "2001-02-03T04:05:06Z",
                        "author": {"name": "Ada"},
                    },
                    vector={
                        "lusifer": OLD.vector(f"{tenant} text {n}").tolist(),
                        "other": [1.0, float(n)],
                    },
                )
                for n in range(12)
            ]
        )
        assert not answer.errors
        for n in range(12):
            # Some refer to objects that come later in the order of their ids.
            objects.reference_add(generate_uuid5(n), "sees", generate_uuid5((n + 1) % 12))
    try:
        where = target_options(weaviate_server, alias, new.path)
        job = str(tmp_path / "job")
        more = ["--window", "5", "--new-collection", f"{name}_v2", "--dimension", "4"]
        plan = command(
            "plan", *where, "--job", job, *more, "--service-address", "http://127.0.0.1:10"
        )
        assert plan["estimate"]["documents"] == 24
        assert not client.collections.exists(f"{name}_v2")
        report = command("run", job)
        assert report["phase"] == "settled"
        assert report["totals"]["written"] >= 24
        # The gate examines every tenant, and asks each query in the tenant of its answer.
        assert gate_of(job)["questions"] == 24
        asked = tmp_path / "questions.jsonl"
        questions = [
            {"text": f"{t} text 3", "lang": "en", "tenant": t, "id": generate_uuid5(3)}
            for t in "ab"
        ]
        asked.write_text("\n".join(map(json.dumps, questions)))
        mine = gate_of(job, "--questions", str(asked))
        assert (mine["questions"], mine["recall_new"]) == (2, 1.0)
        asked.write_text(json.dumps({"text": "text", "id": generate_uuid5(3)}))
        assert "names none" in verified(job, "--questions", str(asked))["error"]["message"]
        command("switch", job, "--force")
        assert client.alias.get(alias_name=alias).collection == f"{name}_v2"
        for tenant in ("a", "b"):
            before, after = (
                everything(client.collections.get(each).with_tenant(tenant))
                for each in (old, f"{name}_v2")
            )
            assert len(after) == 12
            for key, (properties, vectors, links) in before.items():
                copied, made, linked = after[key]
                assert copied == properties
                assert properties["picture"] == picture
                assert (linked, made["other"]) == (links, vectors["other"])
                assert len(made["lusifer"]) == 4 != len(vectors["lusifer"])
        made_by = (
            client.collections.get(f"{name}_v2").config.get().vector_config["lusifer"].vectorizer
        )
        assert made_by.model["dimensions"] == 4
        assert made_by.model["inferenceUrl"] == "http://127.0.0.1:10"
        assert command("rollback", job)["left_behind"] == 0
        assert client.alias.get(alias_name=alias).collection == old
        command("clean", job, "--yes")
        assert not client.collections.exists(f"{name}_v2")
    finally:
        client.alias.delete(alias_name=alias)
        for each in (old, f"{name}_v2"):
            client.collections.delete(each)


def target_options(server: RunningWeaviate, collection: str, bundle: Path) -> list[str]:
    """Return the options of ``lusifer reindex plan`` that name a collection and a model."""
    return [*("--weaviate", server.url, "--collection", collection), "--bundle", str(bundle)]


def verified(job: str, *options: str) -> Any:
    result = CliRunner().invoke(
        app, ["reindex", "verify", job, *options, "--json"], catch_exceptions=False
    )
    return json.loads(result.stdout)


def gate_of(job: str, *options: str) -> Any:
    return verified(job, *options)["gate"]["languages"]["en"]


def command(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["reindex", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def everything(handle: Any) -> dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]]:
    from weaviate.classes.query import QueryNested, QueryReference

    answer = handle.query.fetch_objects(
        limit=100, include_vector=True,
        return_properties=["text", "lang", "picture", "born", QueryNested(name="author", properties="name")],
        return_references=QueryReference(link_on="sees", return_properties=[]),
    )  # fmt: skip
    return {
        str(each.uuid): (
            dict(each.properties),
            dict(each.vector),
            [str(one.uuid) for one in each.references["sees"].objects],
        )
        for each in answer.objects
    }  # fmt: skip
