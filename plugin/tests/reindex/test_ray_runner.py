"""Parts of the Ray runner that need no cluster: the plan of the rows, and each worker's step on one row."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from plugin.tests.reindex.memory import memory_migration
from plugin.tests.reindex.support import NEW, make_plan

from lusifer.errors import FingerprintMismatchError, MissingExtraError
from lusifer.reindex import ray_runner
from lusifer.reindex.endpoints import factory
from lusifer.reindex.endpoints.base import content_of, document_record
from lusifer.reindex.job import Job, State
from lusifer.reindex.ray_runner import Cluster, plan_ranges, run_on_ray
from lusifer.reindex.snapshot import Base
from lusifer.types import Document


def test_a_new_pass_is_cut_into_ranges_of_about_a_batch() -> None:
    source, _, migration = memory_migration()
    for key in "abcdef":
        source.put(Document(key, key, {}))
    state = State(plan_id="p")
    assert plan_ranges(state, migration, 2) == [
        {"part": 0, "first": "", "end": "c", "cursor": ""},
        {"part": 1, "first": "c", "end": "e", "cursor": ""},
        {"part": 2, "first": "e", "end": "", "cursor": ""},
    ]
    assert (state.step, state.spans) == ("copy", 3)


def test_an_interrupted_pass_keeps_its_ranges_and_cursors() -> None:
    source, _, migration = memory_migration()
    for key in "abcdef":
        source.put(Document(key, key, {}))
    state = State(plan_id="p", spans=3, finished=[(0, 1)], cursors={1: "d"})
    assert plan_ranges(state, migration, 99) == [
        {"part": 1, "first": "c", "end": "e", "cursor": "d"},
        {"part": 2, "first": "e", "end": "", "cursor": ""},
    ]


def test_ranges_are_at_least_one_and_at_most_as_many_as_ray_plans_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, _, migration = memory_migration()
    assert [row["part"] for row in plan_ranges(State(plan_id="p"), migration, 256)] == [0]
    for number in range(40):
        source.put(Document(f"d{number:02}", "x", {}))
    monkeypatch.setattr(ray_runner, "_MOST_RANGES", 10)
    assert len(plan_ranges(State(plan_id="p"), migration, 1)) == 10


def test_three_workers_take_one_range_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, migration = memory_migration()
    for key in "abcde":
        source.put(Document(key, f"text {key}", {"lang": "en"}))
    monkeypatch.setattr(factory, "open_migration", lambda plan: migration)
    monkeypatch.setattr(factory, "open_model", lambda model: NEW)
    plan = make_plan(window=2).model_dump_json()
    # Ray's handle of an actor, which asks it at once.
    actor = ray_runner._KnownBases()
    older = document_record("c", Document("c", "older", {"lang": "en"}), "lang")
    for key, version in target.write([(older, NEW.vector("older"))], {}).items():
        actor.put({key: Base(content_of(version), version)})
    handle = SimpleNamespace(get=SimpleNamespace(remote=actor.get))
    monkeypatch.setattr(ray_runner, "_import_ray", lambda: SimpleNamespace(get=lambda each: each))
    row: dict[str, Any] = {"part": [7], "first": [""], "end": ["e"], "cursor": ["b"]}
    row = ray_runner._Reader(plan, 0, handle)(row)
    assert row["part"] == [7]
    row = ray_runner._Embedder(plan, 0)(row)
    assert row["part"] == [7]
    written = ray_runner._Writer(plan, 0)(row)
    outcome, bases = pickle.loads(written["outcome"][0])  # noqa: S301  (our own)
    assert bases == {key: Base(content_of(each), each) for key, each in target.noted.items()}
    assert written["part"] == [7]
    # From the cursor on: b, c and d, in two batches.
    assert set(target.documents) == {"b", "c", "d"}
    assert (outcome.tally.read, outcome.tally.written, outcome.tally.tokens) == (3, 3, 6)


def test_without_ray_the_extra_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    _, _, migration = memory_migration()
    job = Job.create(tmp_path / "job", make_plan())
    with pytest.raises(MissingExtraError) as missing:
        run_on_ray(job, migration, NEW, Cluster("local"))
    assert missing.value.next_step == "Run pip install 'lusifer[reindex]'."


def test_another_model_is_refused_before_ray_is_needed(tmp_path: Any) -> None:
    _, _, migration = memory_migration()
    other = make_plan().model.model_copy(update={"fingerprint": "sha256:other"})
    job = Job.create(tmp_path / "job", make_plan(model=other))
    with pytest.raises(FingerprintMismatchError):
        run_on_ray(job, migration, NEW, Cluster("local"))
