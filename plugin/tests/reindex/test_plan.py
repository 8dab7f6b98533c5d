from __future__ import annotations

import pytest
from plugin.tests.reindex.support import make_plan
from pydantic import ValidationError

from lusifer.reindex.plan import Location, Plan, RateLimits


@pytest.mark.parametrize(
    ("location", "name"),
    [
        (Location(kind="file", address="/data/a.jsonl"), "/data/a.jsonl"),
        (
            Location(kind="qdrant", address="http://q:6333", collection="articles-v1"),
            "articles-v1 (lusifer) in http://q:6333",
        ),
        (
            Location(kind="qdrant", address="http://q:6333", collection="theirs", vector_name=""),
            "theirs in http://q:6333",
        ),
    ],
)
def test_a_location_has_a_name_for_people(location: Location, name: str) -> None:
    assert location.name == name


def test_rate_limits_are_shared_among_workers() -> None:
    limits = RateLimits(source_per_s=100, tokens_per_s=9, target_per_s=0)
    assert limits.share(4) == RateLimits(source_per_s=25, tokens_per_s=2.25, target_per_s=0)


def test_a_plan_comes_back_from_json() -> None:
    plan = make_plan(window=7, alias="live", shown_before="v1")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert (plan.gate.minimum_recall, plan.gate.maximum_recall_loss) == (0.5, 0.05)
    assert (plan.gate.minimum_overlap, plan.gate.maximum_bias_gain) == (0.1, 0.1)
    assert plan.gate.minimum_questions == 10


def test_a_plan_of_the_first_version_is_read() -> None:
    plan = Plan.model_validate_json(
        '{"schema_version":1,"id":"a","created":"2026-11-01T00:00:00+00:00","lusifer":"0.1",'
        '"source":{"kind":"qdrant","address":"http://q","collection":"v1","vector_name":"lusifer",'
        '"grpc":false,"text_field":"text","id_field":"id"},'
        '"target":{"kind":"qdrant","address":"http://q","collection":"v2","vector_name":"lusifer",'
        '"grpc":false,"text_field":"text","id_field":"id"},'
        '"in_place":false,"alias":"live","shown_before":"v1","language_field":"lang",'
        '"service_address":null,"service_dimension":null,'
        '"model":{"name":"new","fingerprint":"sha256:1","dimension":8,"role_prompts":{},"bundle":"b",'
        '"service":null,"long_text":"truncate"},"old_model":null,"window":256,'
        '"limits":{"source_per_s":0,"tokens_per_s":0,"target_per_s":0},'
        '"gate":{"maximum_recall_loss":0.05,"minimum_recall":0.5,"minimum_overlap":0.1,'
        '"maximum_bias_gain":0.1,"minimum_questions":10,"maximum_first_share":0.1},'
        '"estimate":{"documents":1,"sampled":1,"languages":{},"tokens":1,"tokens_per_s":1,'
        '"seconds":1,"cost":null,"index_bytes":1},"findings":[]}'
    )
    assert (plan.source.collection, plan.target.collection, plan.model.bundle) == ("v1", "v2", "b")


@pytest.mark.parametrize(
    "change", [{"window": 0}, {"window": 10**12}, {"unknown": 1}, {"schema_version": 2}]
)
def test_a_plan_with_other_fields_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({**make_plan().model_dump(), **change})
