"""A copy has everything that the source has: every setting, data type, vector, tenant, reference.

Compared is the JSON of Weaviate's REST API before and after, and never what a client made of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from integration_tests.weaviate import rich_collection as rich
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.reindex.support import NEW, OLD

from lusifer.errors import InvalidInputError, PlanError, ReindexError
from lusifer.reindex.checks import CheckOptions, check
from lusifer.reindex.cleaning import clean
from lusifer.reindex.cutover import cut_over
from lusifer.reindex.endpoints.factory import open_migration
from lusifer.reindex.inspection import PlanRequest
from lusifer.reindex.job import Job
from lusifer.reindex.planner import make_plan
from lusifer.reindex.quality_gate import GateOptions
from lusifer.reindex.rollback import rollback
from lusifer.reindex.runner import run
from lusifer.weaviate.metadata import metadata_for

COUNT = 6
FEW = CheckOptions(samples=8, gate=GateOptions(per_language=2))


@dataclass
class Server:
    """A server with what the rich collections need, and names that are free on it."""

    url: str
    http: httpx.Client

    def __post_init__(self) -> None:
        self.name = f"Rich{uuid.uuid4().hex[:10]}"
        self.old, self.new, self.other = (f"{self.name}_{each}" for each in ("v1", "v2", "other"))

    def create(self, schema: rich.JSONObject) -> None:
        answer = self.http.post("/schema", json=schema)
        assert answer.status_code == 200, answer.text

    def insert(self, objects: list[rich.JSONObject]) -> None:
        """Insert objects, and then their references, whatever the order."""
        bare = [
            {**each, "properties": {n: v for n, v in each["properties"].items() if not _links(v)}}
            for each in objects
        ]
        answers = self.http.post("/batch/objects", json={"objects": bare}).json()
        assert all(each["result"]["status"] == "SUCCESS" for each in answers), answers
        rows = [
            {
                "from": f"weaviate://localhost/{each['class']}/{each['id']}/{name}",
                "to": link["beacon"],
                **({"tenant": each["tenant"]} if "tenant" in each else {}),
            }
            for each in objects
            for name, value in each["properties"].items()
            if _links(value)
            for link in value
        ]
        answers = self.http.post("/batch/references", json=rows).json() if rows else []
        assert all(each["result"]["status"] == "SUCCESS" for each in answers), answers

    def schema(self, name: str) -> rich.JSONObject:
        return dict(self.http.get(f"/schema/{name}").raise_for_status().json())

    def alias(self, name: str, collection: str) -> None:
        answer = self.http.post("/aliases", json={"alias": name, "class": collection})
        assert answer.status_code == 200, answer.text

    def tenants(self, name: str) -> dict[str, str]:
        found = self.http.get(f"/schema/{name}/tenants").raise_for_status().json()
        return {each["name"]: each["activityStatus"] for each in found}

    def clear(self) -> None:
        self.http.delete(f"/aliases/{self.name}")
        for each in (self.old, self.new, self.other):
            self.http.delete(f"/schema/{each}")

    def plan(self, **request: Any) -> Any:
        asked = {"kind": "weaviate", "address": self.url, "name": self.name, **request}
        return make_plan(PlanRequest(**{"new_collection": self.new, **asked}), NEW)


def _links(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and "beacon" in first


@pytest.fixture
def server(own_weaviate: RunningWeaviate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # The dynamic index needs the first, an object's lifetime the second, a user dictionary the third.
    own_weaviate.run_with(
        ASYNC_INDEXING="true",
        OBJECTS_TTL_DELETE_SCHEDULE="@daily",
        ENABLE_TOKENIZER_KAGOME_KR="true",
    )
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(own_weaviate.grpc_port))
    with httpx.Client(base_url=f"{own_weaviate.url}/v1", timeout=60) as http:
        made = Server(own_weaviate.url, http)
        made.create({"class": made.other, "vectorizer": "none"})
        yield made
        made.clear()


def fill(server: Server, *, tenants: bool) -> None:
    """Make the source with its objects, and objects of another collection that it refers to."""
    known = metadata_for(server.old, OLD, text_property="body")
    description = known.in_description("Theirs.")
    source = rich.schema(server.old, server.other, tenants=tenants, description=description)
    source["vectorConfig"][rich.REPLACED]["vectorIndexConfig"] |= {"rq": {"enabled": True}}
    server.create(source)
    server.alias(server.name, server.old)
    linked = [
        {"class": server.other, "id": rich.object_id(n), "properties": {}} for n in range(COUNT)
    ]
    server.insert(linked)
    made = rich.objects(server.old, server.other, COUNT, lambda text: OLD.vector(text).tolist())
    if not tenants:
        server.insert(made)
        return
    rows = [{"name": "acme"}, {"name": "acme-eu"}, {"name": "empty"}, {"name": "zeta"}]
    assert server.http.post(f"/schema/{server.old}/tenants", json=rows).status_code == 200
    for tenant in ("acme", "acme-eu", "zeta"):
        server.insert([{**each, "tenant": tenant} for each in made])
    asleep = [{"name": each, "activityStatus": "INACTIVE"} for each in ("acme-eu", "empty")]
    assert server.http.put(f"/schema/{server.old}/tenants", json=asleep).status_code == 200


def re_embed(server: Server, folder: Path, **request: Any) -> Job:
    job = Job.create(folder / "job", server.plan(**request))
    with closing(open_migration(job.plan)) as migration, job.locked():
        state = run(job, migration, NEW)
        assert (state.phase, state.refused) == ("settled", [])
        # Nothing is embedded twice: references do not need a second pass.
        assert state.passes[-1].found == 0
        assert check(job, migration, NEW, FEW).verification.problems == []
        cut_over(job, migration, NEW, FEW, force=True)
    return job


def wake(server: Server, collection: str) -> None:
    rows = [{"name": each, "activityStatus": "ACTIVE"} for each in server.tenants(collection)]
    assert server.http.put(f"/schema/{collection}/tenants", json=rows).status_code == 200


@pytest.mark.parametrize("tenants", [False, True])
def test_a_copy_is_the_same_field_by_field(server: Server, tmp_path: Path, tenants: bool) -> None:
    fill(server, tenants=tenants)
    before = server.schema(server.old)
    re_embed(server, tmp_path)
    after = server.schema(server.new)
    changed = rich.differences(before, after)
    own = next(i for i, each in enumerate(before["properties"]) if each["name"] == "self")
    assert changed.pop("class") == (server.old, server.new)
    assert changed.pop(f"properties[{own}].dataType[0]") == (server.old, server.new)
    assert "Theirs." in changed.pop("description")[1]
    assert changed == {}
    assert server.schema(server.old) == before
    statuses = {"acme": "HOT", "acme-eu": "COLD", "empty": "COLD", "zeta": "HOT"} if tenants else {}
    if tenants:
        assert server.tenants(server.new) == server.tenants(server.old) == statuses
        for each in (server.old, server.new):
            wake(server, each)
    for tenant in statuses or [""]:
        old, new = (rich.stored_objects(server.http, c, tenant) for c in (server.old, server.new))
        assert len(old) == (0 if tenant == "empty" else COUNT)
        assert old.keys() == new.keys()
        for key, each in old.items():
            body = each["properties"]["body"]
            found = rich.differences(each, new[key])
            assert found.pop("class") == (server.old, server.new)
            for time in ("creationTimeUnix", "lastUpdateTimeUnix"):
                assert found.pop(time)
            for part in ("beacon", "href"):
                was, now = found.pop(f"properties.self[0].{part}")
                assert now == str(was).replace(server.old, server.new)
            replaced = [name for name in found if name.startswith(f"vectors.{rich.REPLACED}[")]
            for name in replaced:
                del found[name]
            assert found == {}
            assert new[key]["vectors"][rich.REPLACED] == pytest.approx(NEW.vector(body), abs=1e-6)


FIELDS_COPIED = {
    "Class": {"class", "description", "vectorConfig", "shardingConfig", "replicationConfig", "invertedIndexConfig", "multiTenancyConfig", "objectTtlConfig", "moduleConfig", "properties"},
    "Property": {"name", "dataType", "description", "moduleConfig", "indexFilterable", "indexSearchable", "indexRangeFilters", "tokenization", "nestedProperties", "disableDuplicatedReferences", "textAnalyzer"},
    "NestedProperty": {"name", "dataType", "description", "indexFilterable", "indexSearchable", "indexRangeFilters", "tokenization", "nestedProperties", "textAnalyzer"},
    "TextAnalyzerConfig": {"asciiFold", "asciiFoldIgnore", "stopwordPreset"},
    "VectorConfig": {"vectorizer", "vectorIndexType", "vectorIndexConfig"},
    "InvertedIndexConfig": {"cleanupIntervalSeconds", "bm25", "stopwords", "indexTimestamps", "indexNullState", "indexPropertyLength", "stopwordPresets", "tokenizerUserDict"},
    "BM25Config": {"k1", "b"},
    "StopwordConfig": {"preset", "additions", "removals"},
    "TokenizerUserDictConfig": {"tokenizer", "replacements"},
    "MultiTenancyConfig": {"enabled", "autoTenantCreation", "autoTenantActivation"},
    "ReplicationConfig": {"factor", "deletionStrategy", "asyncConfig"},
    "ReplicationAsyncConfig": {"hashtreeHeight", "frequency", "frequencyWhilePropagating", "loggingFrequency", "diffBatchSize", "diffPerNodeTimeout", "prePropagationTimeout", "propagationTimeout", "propagationLimit", "propagationDelay", "propagationConcurrency", "propagationBatchSize"},
    "ObjectTtlConfig": {"enabled", "defaultTtl", "deleteOn", "filterExpiredObjects"},
    "Tenant": {"name", "activityStatus"},
    "Object": {"class", "properties", "id", "vectors", "vector", "tenant"},
    "PhoneNumber": {"input", "internationalFormatted", "defaultCountry", "countryCode", "national", "nationalFormatted", "valid"},
    "GeoCoordinates": {"latitude", "longitude"},
    "SingleRef": {"beacon", "href"},
}  # fmt: skip
"""Fields of the OpenAPI document that the test above compares."""
FIELDS_OTHERWISE = {
    "Class": {
        "vectorizer": "the unnamed vector, tested below",
        "vectorIndexType": "the unnamed vector, tested below",
        "vectorIndexConfig": "the unnamed vector, tested below",
    },
    "Property": {
        "indexInverted": "replaced by three other settings; the server does not show it",
        "bucketGeneration": "the server's own count; it does not show it",
        "searchableBlockmax": "the server's own state; it does not show it",
    },
    "NestedProperty": {},
    "InvertedIndexConfig": {"usingBlockMaxWAND": "the server's format, the same for all that is new"},
    "Object": {
        "creationTimeUnix": "new; the plan says so",
        "lastUpdateTimeUnix": "new; the plan says so",
        "vectorWeights": "of a module that is gone; always null",
        "additional": "computed for an answer",
    },
    "SingleRef": {
        "class": "not shown for a stored reference",
        "schema": "not shown for a stored reference",
        "classification": "of a feature that is gone; the server takes no reference with it",
    },
}  # fmt: skip


def test_every_field_of_the_servers_own_document_is_known(server: Server) -> None:
    """A field of a newer version is copied and compared, or its reason is written down."""
    document = httpx.get(f"{server.url}/v1/swagger.json", timeout=60).raise_for_status().json()
    for name, copied in FIELDS_COPIED.items():
        fields = set(document["definitions"][name]["properties"])
        known = copied | set(FIELDS_OTHERWISE.get(name, {}))
        assert fields - known == set(), f"{name} has fields that no test copies"
        assert known - fields == set(), f"{name} lost fields"


SETTINGS_OTHERWISE = {
    "hnsw.pq.bitCompression": "deprecated; the server ignores it",
    "hnsw.multivector.aggregation": "has one value so far",
    "hfresh.rq.enabled": "has one value so far",
    "hfresh.rq.bits": "has one value so far",
    "trackDefaultQuantization": "the server's own state",
    "flat.pq.*": "not for this index; the server refuses it",
    "flat.sq.*": "not for this index; the server refuses it",
}


def test_every_setting_of_an_index_is_set_somewhere(server: Server) -> None:
    """A setting that a newer version shows by default is set by no collection of ours."""
    for name, tenants in ((server.old, False), (server.new, True)):
        server.create(rich.schema(name, server.other, tenants=tenants, description=""))
    vectors = [
        each
        for name in (server.old, server.new)
        for each in server.schema(name)["vectorConfig"].values()
    ]
    for kind in ("hnsw", "flat", "dynamic", "hfresh"):
        probe = {
            "class": server.name,
            "vectorConfig": {"x": {"vectorizer": {"none": {}}, "vectorIndexType": kind}},
        }
        server.create(probe)
        defaults = rich.paths(server.schema(server.name)["vectorConfig"]["x"]["vectorIndexConfig"])
        server.http.delete(f"/schema/{server.name}")
        made = [rich.paths(v["vectorIndexConfig"]) for v in vectors if v["vectorIndexType"] == kind]
        assert made, kind
        unset = {
            path for path, value in defaults.items() if all(m.get(path) == value for m in made)
        }
        if kind == "dynamic":
            # Those of its two indexes are those of the indexes, seen above.
            unset = {path for path in unset if not path.startswith(("hnsw.", "flat."))}
        known = {each.removeprefix(f"{kind}.") for each in SETTINGS_OTHERWISE}
        left = {p for p in unset if p not in known and f"{p.partition('.')[0]}.*" not in known}
        assert left == set(), f"no collection sets {left} of {kind}"


def simple(name: str, module: str = "none", **changes: Any) -> rich.JSONObject:
    """Return the schema of a collection of LUSIFER with a property ``text``."""
    settings = {
        "none": {},
        "text2vec-transformers": {
            "inferenceUrl": "http://127.0.0.1:9",
            "properties": ["text"],
            "vectorizeClassName": False,
        },
    }
    return {
        "class": name,
        "description": metadata_for(name, OLD).in_description(),
        "vectorConfig": {"lusifer": {"vectorizer": {module: settings[module]}, "vectorIndexType": "hnsw"}},
        "properties": [{"name": "text", "dataType": ["text"]}],
        **changes,
    }  # fmt: skip


def texts(collection: str, written: list[str], **more: Any) -> list[rich.JSONObject]:
    return [
        {
            "class": collection,
            "id": rich.object_id(number),
            "properties": {"text": text},
            "vectors": {"lusifer": OLD.vector(text).tolist()},
            **more,
        }
        for number, text in enumerate(written)
    ]


UNUSABLE = {
    "blank": "   ",
    "control characters": "\x01\x02\n\t",
    "zero width": "\u200b\u200d",
    "empty": "",
    "too long": "long " * 9,
}


class Strict(type(NEW)):  # type: ignore[misc]
    """The new model, with a limit of eight words."""

    def stream(self, texts: Any, role: str, *, window: int = 512) -> Any:
        for text, made in zip(texts, super().stream(texts, role, window=window), strict=True):
            yield InvalidInputError("Too long.", next_step="") if len(text.split()) > 8 else made


@pytest.mark.parametrize("module", ["none", "text2vec-transformers"])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_can_not_be_embedded_is_listed_and_kept(
    server: Server, tmp_path: Path, module: str, in_place: bool
) -> None:
    """With a module, Weaviate would refuse an object for whose text the service has no vector."""
    server.create(simple(server.old, module))
    server.alias(server.name, server.old)
    made = texts(server.old, ["one", *UNUSABLE.values(), "two"])
    for each in made:
        each["properties"]["title"] = "kept"
    server.insert(made)
    more: dict[str, Any] = {"in_place": in_place, "vector_name": "second" if in_place else None}
    if in_place:
        more |= {"new_collection": None, "service_address": "http://127.0.0.1:9"}
    model = Strict(NEW.seed)
    job = Job.create(tmp_path / "job", server.plan(**more))
    with closing(open_migration(job.plan)) as migration, job.locked():
        state = run(job, migration, model)
        assert state.phase == "settled"
        assert [each["key"] for each in state.refused] == [
            rich.object_id(number) for number in range(1, 6)
        ]
        cut_over(job, migration, model, FEW, force=True)
        assert migration.target.count() == 7
        assert migration.target.count_without_vector() == 5
    name, vector = (server.old, "second") if in_place else (server.new, "lusifer")
    found = rich.stored_objects(server.http, name)
    for number, each in enumerate(made):
        after = found[each["id"]]
        text = each["properties"]["text"]
        assert after["properties"] == each["properties"] | (
            {"lusifer_mark": after["properties"]["lusifer_mark"]}
            if number in {0, 6} and in_place
            else {}
        )
        if in_place:
            assert after["vectors"]["lusifer"] == pytest.approx(each["vectors"]["lusifer"])
        if number in {0, 6}:
            assert after["vectors"][vector] == pytest.approx(NEW.vector(text).tolist(), abs=1e-6)
        else:
            assert not any((after.get("vectors") or {}).get(vector) or ())
    # An application may still edit such an object, whatever Weaviate embeds.
    path = f"/objects/{name}/{rich.object_id(1)}"
    answer = server.http.patch(path, json={"class": name, "properties": {"note": 1}})
    assert answer.status_code == 204, answer.text


def test_an_unnamed_vector_is_replaced(server: Server, tmp_path: Path) -> None:
    """Re-embed an unnamed vector of another model; the flat index stays."""
    unnamed = simple(
        server.old, vectorConfig=None, vectorizer="text2vec-transformers", description="Theirs.",
        moduleConfig={"text2vec-transformers": {"inferenceUrl": "http://127.0.0.1:9"}, "generative-openai": {"model": "gpt-4o"}},
        vectorIndexType="flat", vectorIndexConfig={"distance": "dot", "bq": {"enabled": True, "rescoreLimit": 44}},
    )  # fmt: skip
    server.create(unnamed)
    server.alias(server.name, server.old)
    made = texts(server.old, [f"text {number}" for number in range(5)])
    server.insert(
        [{**each, "vectors": None, "vector": [1.0, 2.0, float(n)]} for n, each in enumerate(made)]
    )
    job = re_embed(server, tmp_path, service_address="http://127.0.0.1:10")
    assert [each["subject"] for each in job.plan.findings][:2] == ["old model", "distance"]
    after = server.schema(server.new)
    new = after["vectorConfig"]["lusifer"]
    assert (new["vectorIndexType"], new["vectorIndexConfig"]["bq"]["rescoreLimit"]) == ("flat", 44)
    assert new["vectorIndexConfig"]["distance"] == "cosine"
    assert new["vectorizer"]["text2vec-transformers"] | {"poolingStrategy": ""} == {
        "inferenceUrl": "http://127.0.0.1:10", "properties": ["text"], "vectorizeClassName": False, "poolingStrategy": "",
    }  # fmt: skip
    assert after["moduleConfig"] == {"generative-openai": {"model": "gpt-4o"}}
    found = rich.stored_objects(server.http, server.new)
    for each in made:
        text = each["properties"]["text"]
        assert found[each["id"]]["properties"] == {"text": text}
        assert found[each["id"]]["vectors"]["lusifer"] == pytest.approx(NEW.vector(text), abs=1e-6)


def test_clean_refuses_while_something_refers_to_the_source(server: Server, tmp_path: Path) -> None:
    server.create(simple(server.old))
    server.alias(server.name, server.old)
    server.insert(texts(server.old, ["one", "two"]))
    link = {"name": "of", "dataType": [server.old]}
    answer = server.http.post(f"/schema/{server.other}/properties", json=link)
    assert answer.status_code == 200, answer.text
    server.alias(f"{server.name}Also", server.old)
    sentences = [
        f"The collection {server.other} refers to it (of).",
        f"The alias {server.name}Also points to it.",
    ]
    try:
        job = re_embed(server, tmp_path)
        found = [each["message"] for each in job.plan.findings if each["subject"] == "references"]
        assert found == sentences
        with closing(open_migration(job.plan)) as migration, job.locked():
            with pytest.raises(ReindexError, match="is still in use") as raised:
                clean(job, migration)
            assert all(each in raised.value.message for each in sentences)
            assert server.schema(server.old)
            assert clean(job, migration, force=True) == f"the collection {server.old}"
    finally:
        server.http.delete(f"/aliases/{server.name}Also")


@pytest.mark.parametrize("tenants", [False, True])
def test_nobody_writes_to_the_source_while_clean_counts_and_deletes_it(
    server: Server, tmp_path: Path, tenants: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = {"tenant": "t"} if tenants else {}
    server.create(simple(server.old, multiTenancyConfig={"enabled": tenants}))
    server.alias(server.name, server.old)
    if tenants:
        server.http.post(f"/schema/{server.old}/tenants", json=[{"name": "t"}])
    server.insert(texts(server.old, ["one", "two", "three"], **tenant))
    late = texts(server.old, ["one", "two", "three", "four"], **tenant)[3:]
    job = re_embed(server, tmp_path)
    with closing(open_migration(job.plan)) as migration, job.locked():
        remove = migration.cutover.remove_source

        def remove_source() -> str:
            answers = server.http.post("/batch/objects", json={"objects": late}).json()
            assert "manually set" in str(answers[0]["result"])
            return remove()

        monkeypatch.setattr(migration.cutover, "remove_source", remove_source)
        server.insert(late)
        with pytest.raises(ReindexError, match="1 documents were written to"):
            clean(job, migration)
        server.insert(late)
        cut_over(job, migration, NEW, FEW)
        assert clean(job, migration) == f"the collection {server.old}"
    assert len(rich.stored_objects(server.http, server.new, tenant.get("tenant", ""))) == 4


def test_inactive_tenants_are_left_out_by_choice(server: Server, tmp_path: Path) -> None:
    server.create(simple(server.old, multiTenancyConfig={"enabled": True}))
    server.alias(server.name, server.old)
    rows = [{"name": "acme"}, {"name": "acme-eu"}]
    server.http.post(f"/schema/{server.old}/tenants", json=rows)
    for tenant in ("acme", "acme-eu"):
        server.insert(texts(server.old, ["one", "two", "three"], tenant=tenant))
    asleep = [{"name": "acme-eu", "activityStatus": "INACTIVE"}]
    server.http.put(f"/schema/{server.old}/tenants", json=asleep)
    job = re_embed(server, tmp_path, skip_inactive_tenants=True)
    assert job.plan.skipped_tenants == ("acme-eu",)
    assert job.plan.estimate.documents == 3
    assert server.tenants(server.new) == {"acme": "HOT"}
    assert server.tenants(server.old) == {"acme": "HOT", "acme-eu": "COLD"}
    with (
        closing(open_migration(job.plan)) as migration,
        job.locked(),
        pytest.raises(ReindexError, match="1 of its tenants were left out of the copy: acme-eu"),
    ):
        clean(job, migration)


@pytest.mark.parametrize("tenants", [False, True])
def test_a_reference_to_what_is_gone(server: Server, tmp_path: Path, tenants: bool) -> None:
    """Without tenants it is copied; with tenants Weaviate takes none, and the run settles."""
    enabled = {"multiTenancyConfig": {"enabled": True}} if tenants else {}
    schema = simple(server.old, **enabled)
    schema["properties"].append({"name": "sees", "dataType": [server.old]})
    server.create(schema)
    server.alias(server.name, server.old)
    tenant = {"tenant": "t"} if tenants else {}
    if tenants:
        server.http.post(f"/schema/{server.old}/tenants", json=[{"name": "t"}])
    made = texts(server.old, ["one", "two", "three"], **tenant)
    for number, each in enumerate(made):
        each["properties"]["sees"] = [rich.beacon(server.old, (number + n) % 3) for n in (1, 2)]
    server.insert(made)
    gone = f"/objects/{server.old}/{rich.object_id(1)}"
    assert server.http.delete(gone, params=tenant).status_code == 204
    re_embed(server, tmp_path)
    found = rich.stored_objects(server.http, server.new, tenant.get("tenant", ""))
    assert set(found) == {rich.object_id(0), rich.object_id(2)}
    seen = {
        key: [each["beacon"][-1] for each in o["properties"]["sees"]] for key, o in found.items()
    }
    assert seen == (
        {rich.object_id(0): ["2"], rich.object_id(2): ["0"]}
        if tenants
        else {rich.object_id(0): ["1", "2"], rich.object_id(2): ["0", "1"]}
    )


def test_properties_and_tenants_that_come_while_it_runs(server: Server, tmp_path: Path) -> None:
    """Their types are those of the source, which Weaviate would guess otherwise."""
    server.create(simple(server.old, multiTenancyConfig={"enabled": True}))
    server.alias(server.name, server.old)
    server.http.post(f"/schema/{server.old}/tenants", json=[{"name": "t"}, {"name": "u"}])
    for tenant in "tu":
        server.insert(texts(server.old, ["one", "two", "three"], tenant=tenant))
    job = Job.create(tmp_path / "job", server.plan())
    code = {"name": "code", "dataType": ["text"], "tokenization": "field", "indexSearchable": False}
    with closing(open_migration(job.plan)) as migration, job.locked():
        run(job, migration, NEW)
        server.http.post(f"/schema/{server.old}/properties", json=code)
        server.http.post(f"/schema/{server.old}/tenants", json=[{"name": "late"}, {"name": "none"}])
        late = texts(server.old, ["four"], tenant="late")
        late[0]["properties"]["code"] = "2020-01-01T00:00:00Z"
        server.insert(late)
        state = [{"name": "u", "activityStatus": "INACTIVE"}]
        server.http.put(f"/schema/{server.old}/tenants", json=state)
        cut_over(job, migration, NEW, FEW, force=True)
    copied = next(e for e in server.schema(server.new)["properties"] if e["name"] == "code")
    assert {name: copied[name] for name in code} == code
    found = rich.stored_objects(server.http, server.new, "late")
    assert [each["properties"]["code"] for each in found.values()] == ["2020-01-01T00:00:00Z"]
    assert server.tenants(server.new) == server.tenants(server.old)
    assert server.tenants(server.new)["u"] == "COLD"


def test_what_can_not_be_copied_is_refused_in_the_plan(server: Server) -> None:
    hashed = {"name": "picture", "dataType": ["blobHash"]}
    lifetime = {"enabled": True, "defaultTtl": 99999999, "deleteOn": "_creationTimeUnix"}
    schema = simple(server.old, objectTtlConfig=lifetime)
    schema["properties"].append(hashed)
    server.create(schema)
    server.alias(server.name, server.old)
    server.insert(texts(server.old, ["one"]))
    with pytest.raises(PlanError) as raised:
        server.plan()
    for part in ("picture is a blobHash", "creation (objectTtlConfig)"):
        assert part in raised.value.message
    server.http.delete(f"/schema/{server.old}")
    multi = simple(server.old)
    multi["vectorConfig"]["lusifer"]["vectorIndexConfig"] = {"multivector": {"enabled": True}}
    server.create(multi)
    with pytest.raises(PlanError, match="The vector lusifer is a multivector"):
        server.plan(name=server.old, alias=server.name)


def test_writes_are_held_and_released_beside_an_inactive_tenant(
    server: Server, tmp_path: Path
) -> None:
    server.create(simple(server.old, multiTenancyConfig={"enabled": True}))
    server.alias(server.name, server.old)
    rows = [{"name": "t"}, {"name": "asleep", "activityStatus": "INACTIVE"}]
    server.http.post(f"/schema/{server.old}/tenants", json=rows)
    server.insert(texts(server.old, ["one", "two", "three"], tenant="t"))
    late = texts(server.old, ["one", "two", "three", "four"], tenant="t")[3:]
    job = Job.create(tmp_path / "job", server.plan())
    with closing(open_migration(job.plan, hold_writes=True)) as migration, job.locked():
        run(job, migration, NEW)
        with migration.write_freeze():
            answers = server.http.post("/batch/objects", json={"objects": late}).json()
            assert "manually set" in str(answers[0]["result"])
        server.insert(late)
        cut_over(job, migration, NEW, FEW, force=True)
        assert len(rich.stored_objects(server.http, server.new, "t")) == 4
        rollback(job, migration)
    server.insert(late)
