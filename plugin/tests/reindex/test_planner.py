from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, OLD

from lusifer.errors import PlanError
from lusifer.reindex import planner
from lusifer.reindex.inspection import Inspection, PlanRequest
from lusifer.reindex.plan import LanguageEstimate, Location, Model, RateLimits
from lusifer.reindex.planner import Route, choose_route, estimate, make_plan
from lusifer.stores import diagnostics
from lusifer.stores.fields import FieldRules
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path

MODEL = Model(name="new", fingerprint="sha256:0123456789ab", dimension=8)
ALIAS = Inspection("articles-v1", True, "lusifer", None, ("lusifer", "other"), ())
COLLECTION = Inspection("articles", False, "", None, ("",), ())


def request(kind: Any = "qdrant", **changes: Any) -> PlanRequest:
    return PlanRequest(**{"kind": kind, "address": "http://db", "name": "articles", **changes})


def at(collection: str, vector_name: str = "lusifer", kind: Any = "qdrant") -> Location:
    return Location(kind=kind, address="http://db", collection=collection, vector_name=vector_name)


@pytest.mark.parametrize(
    ("request_", "found", "route"),
    [
        (
            request(),
            ALIAS,
            Route(at("articles-v1"), at("articles-01234567"), False, "articles", "articles-v1"),
        ),
        (
            request(kind="weaviate"),
            ALIAS,
            Route(
                at("articles-v1", kind="weaviate"),
                at("articles_01234567", kind="weaviate"),
                False,
                "articles",
                "articles-v1",
            ),
        ),
        (
            request(alias="live", new_collection="v2", vector_name="dense"),
            COLLECTION,
            Route(at("articles", ""), at("v2", "dense"), False, "live", "articles"),
        ),
        (
            request(in_place=True),
            ALIAS,
            Route(at("articles-v1"), at("articles-v1", "lusifer_01234567"), True, None, None),
        ),
        (
            request(in_place=True, vector_name="other"),
            ALIAS,
            Route(at("articles-v1"), at("articles-v1", "other"), True, None, None),
        ),
        (
            request(file="/data/a.jsonl", id_field="key"),
            None,
            Route(
                Location(kind="file", address="/data/a.jsonl", id_field="key"),
                at("articles-01234567"),
                False,
                "articles",
                None,
            ),
        ),
    ],
)
def test_the_route_of_a_request(
    request_: PlanRequest, found: Inspection | None, route: Route
) -> None:
    assert choose_route(request_, found, MODEL) == route


@pytest.mark.parametrize(
    ("request_", "found", "message"),
    [
        (request(), None, "articles is a collection, and applications ask for it by this name: "),
        (request(alias="live"), None, "There is no collection 'articles'."),
        (request(), COLLECTION, "articles is a collection, and applications ask for it"),
        (request(file="a.jsonl"), COLLECTION, "articles is a collection already."),
        (request(new_collection="articles-v1"), ALIAS, "'articles-v1' is in use."),
        (request(new_collection="articles"), ALIAS, "'articles' is in use."),
        (request(in_place=True), None, "There is no collection 'articles'."),
        (request(in_place=True, vector_name="lusifer"), ALIAS, "articles-v1 uses the vector 'lusifer' now."),
        (request(in_place=True, file="a.jsonl"), ALIAS, "In place needs a collection of Qdrant or Weaviate."),
        (request("embedded", in_place=True), ALIAS, "In place needs a collection of Qdrant or Weaviate."),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_refused(
    request_: PlanRequest, found: Inspection | None, message: str
) -> None:
    with pytest.raises(PlanError) as refused:
        choose_route(request_, found, MODEL)
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("embedded", "Name the alias that they are going to ask with --alias NAME."),
        (
            "qdrant",
            "Name the alias that they are going to ask with --alias NAME, or fill a second vector of "
            "the same documents: --in-place.",
        ),
    ],
)
def test_in_place_is_offered_where_it_can_be_had(kind: str, advice: str) -> None:
    with pytest.raises(PlanError) as refused:
        choose_route(request(kind), COLLECTION, MODEL)
    assert refused.value.next_step == advice


@pytest.mark.parametrize(
    ("limit", "seconds", "cost"), [(0.0, (4.0, 6.0), 0.01), (4.0, (12.5, 37.5), 0.05)]
)
def test_a_sample_is_scaled_to_the_collection(
    limit: float, seconds: tuple[float, float], cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _, migration = memory_migration()
    for number in range(50):
        language, text = (
            ("de", "ein zwei") if number < 25 else ("en", "one two three four five six")
        )
        source.put(Document(f"d{number:02}", text, {"lang": language}))
    monkeypatch.setattr(
        source, "sample", lambda count, seed: [source.record(f"d{n:02}") for n in (0, 49)]
    )
    clock = iter((10.0, 10.4))
    monkeypatch.setattr("lusifer.reindex.batch.time.monotonic", lambda: next(clock))
    made = estimate(
        migration,
        NEW,
        request(samples=2, price_per_hour=3.6, limits=RateLimits(tokens_per_s=limit)),
    )
    # 8 tokens of 2 documents in 0.4 s are 20 a second; 25 times as many in all.
    assert (made.documents, made.sampled, made.tokens, made.tokens_per_s) == (50, 2, 200, 20.0)
    rate = limit or 20.0
    assert made.languages == {
        "de": LanguageEstimate(documents=25, tokens=50, seconds=50 / rate),
        "en": LanguageEstimate(documents=25, tokens=150, seconds=150 / rate),
    }
    assert made.seconds == 200 / rate
    assert made.cost == cost
    assert made.index_bytes == 50 * (8 * 4 + 160)


def test_an_empty_source_takes_nothing() -> None:
    _, _, migration = memory_migration()
    made = estimate(migration, NEW, request())
    assert (made.documents, made.tokens, made.seconds, made.languages) == (0, 0, 0.0, {})
    assert made.cost is None


def planned(monkeypatch: pytest.MonkeyPatch, found: Inspection | None, **changes: Any) -> Any:
    _, _, migration = memory_migration()
    monkeypatch.setattr(planner, "inspect_collection", lambda request, dimension: found)
    monkeypatch.setattr(planner, "open_migration", lambda plan: migration)
    return make_plan(request(**changes), NEW)


def test_a_plan_holds_route_model_estimate_and_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Model(name=OLD.model_name, fingerprint=OLD.fingerprint, dimension=8)
    found = Inspection(
        "v1", True, "lusifer", old, ("lusifer",), (diagnostics.ok("Qdrant", "Fine."),)
    )
    plan = planned(monkeypatch, found, bundle="/b", window=9)
    assert (plan.alias, plan.shown_before, plan.target.collection) == (
        "articles",
        "v1",
        "articles-22222222",
    )
    assert (plan.model.bundle, plan.model.fingerprint, plan.old_model) == (
        "/b",
        NEW.fingerprint,
        old,
    )
    assert (plan.window, plan.estimate.documents, len(plan.id)) == (9, 0, 32)
    assert [(each["severity"], each["message"]) for each in plan.findings] == [
        ("ok", "Fine."),
        (
            "note",
            "The new vectors take about 0.00 GB on the server, and the documents are stored twice "
            "until clean.",
        ),
    ]


def test_the_same_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    same = Model(name="x", fingerprint=NEW.fingerprint, dimension=8)
    with pytest.raises(PlanError, match="articles holds vectors of model-2 already"):
        planned(monkeypatch, Inspection("v1", True, "lusifer", same, ("lusifer",), ()))
    # Documents of a file may be embedded with the same model again.
    plan = planned(
        monkeypatch, Inspection("v1", True, "lusifer", same, ("lusifer",), ()), file="a.jsonl"
    )
    assert plan.old_model is None


@pytest.mark.parametrize(("free", "severity"), [(4 * 50 * 192, "ok"), (4 * 50 * 192 - 1, "error")])
def test_room_for_the_embedded_store_is_checked(
    free: int, severity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _, migration = memory_migration()
    for number in range(50):
        source.put(Document(f"d{number}", "one two", {"lang": "en"}))
    monkeypatch.setattr(planner, "inspect_collection", lambda request, dimension: ALIAS)
    monkeypatch.setattr(planner, "open_migration", lambda plan: migration)
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("lusifer.reindex.planner.shutil.disk_usage", lambda folder: usage)
    plan = make_plan(request("embedded", address=str(tmp_path / "not" / "made")), NEW)
    assert [(each["severity"], each["subject"]) for each in plan.findings] == [(severity, "room")]


def test_a_source_without_a_usable_text_is_refused_with_the_fields_that_are_there() -> None:
    source, _, migration = memory_migration()
    source.put(Document("a", " ", {"body": {"text": "x"}, "page_content": "y"}))
    with pytest.raises(PlanError) as refused:
        estimate(migration, NEW, request())
    assert refused.value.message.startswith("None of 1 sampled documents has a text that can be")
    assert refused.value.message.endswith("Their fields are body, body.text, page_content.")
    source.put(Document("b", "text", {}))
    assert estimate(migration, NEW, request()).documents == 2


def test_a_file_without_a_document_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"body": "x"}\n{"body": "y"}\n')
    monkeypatch.setattr(planner, "inspect_collection", lambda *_: None)
    asked = request("embedded", address=str(tmp_path / "db"), file=str(file))
    with pytest.raises(PlanError) as refused:
        make_plan(asked, NEW)
    assert refused.value.message == (
        f"{file} has no document that can be embedded; 2 records are none. The first: The field "
        "'text' is missing; the fields are 'body'."
    )


def test_rules_for_fields_come_from_the_request_or_the_metadata() -> None:
    known = Inspection(
        "v1", True, "lusifer", None, ("lusifer",), (), text_field="data", template="{a} {b}"
    )
    route = choose_route(request(), known, MODEL)
    assert (route.source.template, route.target.template) == ("{a} {b}", "{a} {b}")
    asked = request(text_field="body.text", drop=("x",), rename=("body=main",))
    route = choose_route(asked, known, MODEL)
    assert (route.source.rules, route.target.rules) == (
        FieldRules("body.text", drop=frozenset({"x"}), rename={"body": "main"}),
        FieldRules("main.text"),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ("x",), "in_place": True}, "In place the documents stay as they are"),
        ({"drop": ("body",), "text_field": "body"}, "the field 'body', so it can't be dropped"),
        ({"kind": "weaviate", "template": "{a}"}, "copies get all fields as they are"),
        ({"kind": "weaviate", "text_field": "a.b"}, "copies get all fields as they are"),
        ({"kind": "embedded", "text_field": "body"}, "copies get all fields as they are"),
    ],
)
def test_rules_that_can_not_be_kept_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        choose_route(request(**changes), ALIAS, MODEL)
