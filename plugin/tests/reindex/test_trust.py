from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from plugin.tests.reindex.support import make_plan

from lusifer.reindex.job import Job
from lusifer.reindex.plan import Location, Model
from lusifer.reindex.trust import (
    is_sealed,
    named_folders,
    named_urls,
    seal,
    unknown_folders,
    unknown_urls,
)

if TYPE_CHECKING:
    from pathlib import Path

QDRANT = Location(kind="qdrant", address="http://db:6333", collection="v1")
MODEL = Model(name="m", fingerprint="sha256:1", dimension=8)


def test_only_the_plan_that_was_made_here_has_a_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))
    job = Job.create(tmp_path / "job", make_plan())
    assert is_sealed(job.path, job.content)
    assert not is_sealed(job.path, job.content + b" ")
    # The whole job of somebody else, with its seal.
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "other"))
    assert not is_sealed(job.path, job.content)
    seal(job.path, job.content)
    assert is_sealed(job.path, job.content)


def test_the_secret_and_the_plan_are_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "cache"))
    job = Job.create(tmp_path / "job", make_plan())
    job.save(job.state())
    for path in (tmp_path / "cache" / "plan-secret", *job.path.glob("*.json")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_without_a_cache_folder_a_plan_is_made_and_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "file"))
    job = Job.create(tmp_path / "job", make_plan())
    assert not is_sealed(job.path, job.content)


def test_every_server_and_folder_of_a_plan_is_named() -> None:
    plan = make_plan(
        source=Location(kind="file", address="/data/a.jsonl"),
        target=QDRANT,
        model=MODEL.model_copy(update={"service": "http://gpu:8000"}),
        service_address="http://gpu.inside:8000",
    )
    assert named_urls(plan) == ["http://db:6333", "http://gpu:8000", "http://gpu.inside:8000"]
    assert named_folders(plan) == ["/data/a.jsonl"]
    embedded = make_plan(model=MODEL.model_copy(update={"bundle": "/models/new"}))
    assert named_urls(embedded) == []
    assert named_folders(embedded) == ["here", "/models/new"]


@pytest.mark.parametrize(
    ("url", "hosts", "known"),
    [
        ("http://db:6333", ["db"], True),
        ("http://DB:6333", ["db:6333"], True),
        ("http://db:6333", ["db:6334"], False),
        ("https://db", ["db:443"], True),
        ("http://db.evil.example:6333", ["db"], False),
        ("http://db@evil.example", ["db"], False),
        ("http://[::1]:6333", ["::1"], True),
        ("http://[broken", ["broken"], False),
        ("db:6333", ["db"], False),
        ("http://db:6333", [], False),
    ],
)
def test_keys_go_to_allowed_hosts_only(url: str, hosts: list[str], known: bool) -> None:
    place = QDRANT.model_copy(update={"address": url})
    plan = make_plan(source=place, target=place)
    assert unknown_urls(plan, hosts) == ([] if known else [url])


def test_folders_stay_below_the_roots(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root" / "db", tmp_path / "other"
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    for address, known in (
        (str(inside), True),
        (str(tmp_path / "root"), True),
        (str(outside), False),
        (str(tmp_path / "root" / ".." / "other"), False),
        (str(tmp_path / "root" / "link" / "x"), False),
        (str(tmp_path / "root2"), False),
    ):
        place = Location(kind="embedded", address=address, collection="v1")
        plan = make_plan(source=place, target=place)
        assert unknown_folders(plan, [tmp_path / "root"]) == ([] if known else [address])
