from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.support import make_plan
from pydantic import ValidationError

from lusifer.errors import JobLockedError, JobNotFoundError, PlanError, ReindexError
from lusifer.reindex.job import Job, PassTally, State

if TYPE_CHECKING:
    from pathlib import Path


def test_finished_ranges_are_merged_in_any_order() -> None:
    state = State(plan_id="p", spans=6, cursors={1: "m"})
    for number in (0, 4, 1, 5):
        state.finish(number)
    assert state.finished == [(0, 2), (4, 6)]
    assert state.cursors == {}
    assert state.open_ranges() == [2, 3]


def test_a_range_that_is_finished_twice_counts_once() -> None:
    state = State(plan_id="p", spans=2)
    state.finish(1)
    state.finish(1)
    assert state.finished == [(1, 2)]
    state = State(plan_id="p", spans=4, finished=[(0, 3)])
    state.finish(1)
    assert state.finished == [(0, 3)]


def test_the_end_of_a_pass_starts_the_next_one() -> None:
    state = State(plan_id="p", step="sweep", spans=1, finished=[(0, 1)])
    state.current = PassTally(read=5, stale=2, gone=1, seconds=1.5)
    state.end_pass()
    assert [each.found for each in state.passes] == [3]
    assert (state.step, state.spans, state.finished, state.current) == ("copy", 0, [], PassTally())
    state.current = PassTally(read=4, seconds=0.5)
    assert state.totals == PassTally(read=9, stale=2, gone=1, seconds=2.0)


def test_a_job_is_created_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "job"
    made = Job.create(folder, make_plan())
    assert made.plan == Job(folder).plan == make_plan()
    with pytest.raises(PlanError, match="holds a plan already") as refused:
        Job.create(folder, make_plan())
    assert refused.value.next_step == (
        f"Continue it with: lusifer reindex run {folder}; or name another folder with --job."
    )


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match="can't be written"):
        Job.create(tmp_path / "file" / "job", make_plan())


@pytest.mark.parametrize("path", ["absent", "file/job"])
def test_a_missing_job_is_not_found(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobNotFoundError, match="No plan in") as refused:
        Job(tmp_path / path)
    assert refused.value.status == 404


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"id": 1}')
    with pytest.raises(PlanError, match=r"plan\.json can't be read: "):
        Job(tmp_path)


def test_the_state_comes_back_and_belongs_to_its_plan(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    assert job.state() == State(plan_id="test")
    job.save(State(plan_id="test", phase="running", cursors={3: "k"}))
    assert job.state() == State(plan_id="test", phase="running", cursors={3: "k"})
    job.save(State(plan_id="other"))
    with pytest.raises(PlanError, match="belongs to another plan"):
        job.state()
    (job.path / "state.json").write_text("{")
    with pytest.raises(ReindexError, match=r"state\.json can't be read: "):
        job.state()


def test_a_state_of_the_first_version_is_read(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    (job.path / "state.json").write_text(
        '{"schema_version":1,"plan_id":"test","phase":"switching","step":"sweep","spans":2,'
        '"finished":[[0,1]],"cursors":{"1":"k"},"current":{"read":1,"stale":0,"written":0,"gone":0,'
        '"refused":0,"tokens":0,"truncated":0,"seconds":0.0,"engine_seconds":0.0},"passes":[],'
        '"languages":{"de":{"documents":1,"tokens":2}},"refused":[{"key":"a","reason":"empty"}]}'
    )
    state = job.state()
    assert (state.phase, state.step, state.open_ranges()) == ("switching", "sweep", [1])
    assert state.languages["de"].tokens == 2


def test_results_are_json(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    assert job.read("checks.json") is None
    job.write("checks.json", {"passed": True, "name": "ü"})
    assert job.read("checks.json") == {"passed": True, "name": "ü"}
    assert (
        job.path / "checks.json"
    ).read_bytes() == '{\n  "passed": true,\n  "name": "ü"\n}\n'.encode()


def test_one_process_works_on_a_job_at_a_time(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    with job.locked(), pytest.raises(JobLockedError) as refused, Job(job.path).locked():
        pass
    assert (refused.value.status, refused.value.retryable) == (423, True)
    with job.locked():
        assert (job.path / "job.lock").exists()


def test_a_lock_that_can_not_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    (job.path / "job.lock").mkdir()
    with pytest.raises(ReindexError, match="can't be locked"), job.locked():
        pass


def test_a_killed_write_leaves_nothing_behind_for_good(tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    (job.path / "state.json.0123abcd.partial").touch()
    (job.path / "notes.partial").touch()
    with job.locked():
        pass
    assert not (job.path / "state.json.0123abcd.partial").exists()
    assert (job.path / "notes.partial").exists()


@pytest.mark.parametrize("name", ["plan.json", "state.json"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    job = Job.create(tmp_path / "job", make_plan())
    (job.path / name).unlink(missing_ok=True)
    os.mkfifo(job.path / name)
    with pytest.raises(ReindexError, match="is not a regular file"):
        Job(job.path).state() if name == "plan.json" else job.state()


def test_hostile_numbers_of_a_state_are_refused_or_harmless() -> None:
    assert State(plan_id="p", spans=3, finished=[(-(10**12), 1), (2, 10**12)]).open_ranges() == [1]
    with pytest.raises(ValidationError):
        State(plan_id="p", spans=10**12)
