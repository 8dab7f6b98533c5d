from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.conftest import make_bundle
from plugin.tests.reindex.support import fast_folder
from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app

pytest.importorskip("qdrant_edge")
from lusifer.embedded.collections import EmbeddedCollections

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = [sys.executable, "-c", "from lusifer.cli.app import main; main()"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(lusifer.__file__).parents[1]),
    "PYTHONWARNINGS": "error",
}
LANGUAGES = ("de", "en", "ja")
COUNT = 90


def records(count: int = COUNT) -> Iterator[dict[str, Any]]:
    chooser = random.Random(0)
    for index in range(count):
        words = " ".join("".join(chooser.choices("abcdefgh", k=5)) for _ in range(4))
        yield {"id": f"d{index}", "text": words, "lang": LANGUAGES[index % 3]}


def lusifer_(*arguments: object) -> tuple[int, Any]:
    """Exit code and the JSON on standard output."""
    result = CliRunner().invoke(
        app, [str(each) for each in (*arguments, "--json")], catch_exceptions=False
    )
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture(scope="module")
def new_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    base = tmp_path_factory.mktemp("new")
    make_bundle(base / "staging", base / "bundle", seed=1)
    return base / "bundle"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    folder = fast_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records()))
    return path


@pytest.fixture
def database(tmp_path: Path, source: Path, tiny_bundle: Path) -> Path:
    """Index documents with the old model, behind the alias ``articles``."""
    root = tmp_path / "database"
    code, report = lusifer_(
        "index", source, "--index", root, "--collection", "articles-v1", "--bundle", tiny_bundle
    )
    assert (code, report["count"]) == (0, COUNT)
    EmbeddedCollections(root).set_alias("articles", "articles-v1")
    return root


@pytest.fixture
def job(tmp_path: Path, database: Path, new_bundle: Path) -> Path:
    folder = tmp_path / "job"
    code, _ = lusifer_(*planning(database, new_bundle, folder))
    assert code == 0
    return folder


def planning(database: Path, bundle: Path, job: Path) -> list[object]:
    where = ["--index", database, "--collection", "articles", "--bundle", bundle]
    return ["reindex", "plan", *where, "--job", job, "--window", 16]


def search(database: Path, bundle: Path, question: str) -> Any:
    result = CliRunner().invoke(
        app,
        ["search", question, "--index", str(database), "--collection", "articles", "--bundle", str(bundle),
         "--json"],
    )  # fmt: skip
    return [json.loads(line) for line in result.stdout.splitlines()]


def contents(folder: Path) -> dict[str, str]:
    """Return a checksum of every JSON file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.json"))
    }


def test_the_whole_way_and_back(
    database: Path, job: Path, tiny_bundle: Path, new_bundle: Path
) -> None:
    questions = [record["text"] for record in records(5)]
    before = [search(database, tiny_bundle, question) for question in questions]
    assert all(len(hits) == 10 for hits in before)
    code, report = lusifer_("reindex", "run", job)
    assert (code, report["phase"], report["totals"]["written"]) == (0, "settled", COUNT)
    assert {name: each["documents"] for name, each in report["languages"].items()} == dict.fromkeys(
        LANGUAGES, COUNT // 3
    )
    assert [search(database, tiny_bundle, question) for question in questions] == before
    code, checks = lusifer_("reindex", "verify", job, "--old-bundle", tiny_bundle)
    assert (code, checks["problems"]) == (0, [])
    assert checks["verification"]["worst_cosine"] > 0.9999
    assert all(each["recall_new"] >= 0.9 for each in checks["gate"]["languages"].values())
    code, switched = lusifer_("reindex", "switch", job)
    assert (code, switched["brought_over"]) == (0, 0)
    assert search(database, new_bundle, questions[0])[0]["text"] == questions[0]
    code, refused = lusifer_(
        "search", "x", "--index", database, "--collection", "articles", "--bundle", tiny_bundle
    )
    assert (code, refused["error"]["type"]) == (1, "FingerprintMismatchError")
    code, refused = lusifer_("reindex", "run", job)
    assert code == 1
    assert "see the new vectors" in refused["error"]["message"]
    rolled_back = {"switched": False, "left_behind": 0, "lacking": 0, "advice": []}
    assert lusifer_("reindex", "rollback", job) == (0, rolled_back)
    assert [search(database, tiny_bundle, question) for question in questions] == before
    code, _ = lusifer_("reindex", "rollback", job)
    assert code == 1
    assert lusifer_("reindex", "clean", job, "--yes")[0] == 0
    assert EmbeddedCollections(database).names() == ["articles-v1"]


def test_a_plan_changes_nothing(database: Path, new_bundle: Path, tmp_path: Path) -> None:
    before = contents(database)
    code, plan = lusifer_(*planning(database, new_bundle, tmp_path / "job"), "--price-per-hour", 3)
    assert code == 0
    assert contents(database) == before
    assert EmbeddedCollections(database).names() == ["articles-v1"]
    estimate = plan["estimate"]
    assert (estimate["documents"], estimate["sampled"]) == (COUNT, COUNT)
    assert sorted(estimate["languages"]) == list(LANGUAGES)
    assert (
        estimate["tokens"] == sum(each["tokens"] for each in estimate["languages"].values()) > COUNT
    )
    assert estimate["seconds"] > 0 <= estimate["cost"]
    assert estimate["index_bytes"] > COUNT * 16 * 4
    assert {finding["severity"] for finding in plan["findings"]} == {"ok"}


def test_what_can_not_be_planned(
    database: Path, job: Path, new_bundle: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        code, answer = lusifer_(*arguments)
        assert code == 1
        return str(answer["error"]["message"])

    assert "holds a plan already" in refused(*planning(database, new_bundle, job))
    other = tmp_path / "other"
    assert "vectors of lusifer-tiny-test already" in refused(
        *planning(database, tiny_bundle, other)
    )
    plan = ["reindex", "plan", "--index", database, "--bundle", new_bundle, "--job", other]
    assert "No index at" in refused(*plan)
    both = [*planning(database, new_bundle, other), "--alias", "another"]
    assert "--alias names another" in refused(*both)
    assert "no collection 'absent'" in refused(*plan, "--collection", "absent")
    assert "is a collection" in refused(*plan, "--collection", "articles-v1")
    assert "In place needs" in refused(*plan, "--collection", "articles", "--in-place")
    assert not other.exists()
    assert "No plan in" in refused("reindex", "run", other)
    assert "No pass is complete" in refused("reindex", "switch", job)


def test_an_index_without_a_collection(
    source: Path, tiny_bundle: Path, new_bundle: Path, tmp_path: Path
) -> None:
    index, job = tmp_path / "index", tmp_path / "job"
    new, old = (
        ("--index", index, "--bundle", new_bundle),
        ("--index", index, "--bundle", tiny_bundle),
    )
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"id": "more", "text": "of the new side"}) + "\n")
    assert lusifer_("index", source, *old)[1]["count"] == COUNT
    code, plan = lusifer_("reindex", "plan", *new, "--job", job)
    assert (code, plan["source"]["collection"], plan["alias"]) == (0, "", "")
    assert lusifer_("reindex", "run", job)[0] == 0
    assert lusifer_("reindex", "switch", job, "--force")[0] == 0
    report = lusifer_("index", source, *new)[1]
    assert (report["unchanged"], report["count"]) == (COUNT, COUNT)
    assert lusifer_("index", more, *new)[1]["count"] == COUNT + 1
    code, refused = lusifer_("index", more, *old)
    assert (code, refused["error"]["type"]) == (1, "FingerprintMismatchError")
    assert lusifer_("reindex", "rollback", job)[1]["left_behind"] == 1
    assert lusifer_("index", source, *old)[1]["count"] == COUNT
    assert lusifer_("reindex", "clean", job, "--yes")[0] == 1
    assert lusifer_("reindex", "switch", job, "--force")[0] == 0
    assert lusifer_("reindex", "clean", job, "--yes") == (
        0,
        {"removed": "the index without a name"},
    )
    assert not (index / "shard").exists()
    assert not (index / "index.json").exists()
    for command in ("run", "verify", "switch", "rollback", "clean"):
        code, refused = lusifer_("reindex", command, job)
        assert (code, refused["error"]["message"]) == (1, "This job was cleaned.")
    # As a clean leaves it that is killed after the deletion.
    state = (job / "state.json").read_text().replace('"cleaned"', '"cleaning"')
    (job / "state.json").write_text(state)
    assert lusifer_("reindex", "clean", job, "--yes") == (0, {"removed": "nothing"})
    assert lusifer_("index", more, *new)[1]["count"] == COUNT + 1
    # Once more, from the collection that took its place.
    assert lusifer_("reindex", "plan", *old, "--job", tmp_path / "back")[0] == 0
    assert lusifer_("reindex", "run", tmp_path / "back")[0] == 0
    assert lusifer_("reindex", "switch", tmp_path / "back", "--force")[0] == 0
    assert lusifer_("index", more, *old)[1]["count"] == COUNT + 1


def test_a_failed_quality_gate_refuses_unless_forced(
    database: Path, new_bundle: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    assert lusifer_(*planning(database, new_bundle, job), "--minimum-overlap", 1)[0] == 0
    assert lusifer_("reindex", "run", job)[0] == 0
    code, checks = lusifer_("reindex", "verify", job)
    assert code == 1
    assert any("of the nearest are the same" in each for each in checks["problems"])
    code, refused = lusifer_("reindex", "switch", job)
    assert (code, refused["error"]["type"]) == (1, "QualityGateError")
    assert EmbeddedCollections(database).aliases() == {"articles": "articles-v1"}
    assert lusifer_("reindex", "switch", job, "--force")[0] == 0
    assert EmbeddedCollections(database).aliases() != {"articles": "articles-v1"}


def test_questions_of_the_team(job: Path, tmp_path: Path) -> None:
    assert lusifer_("reindex", "run", job)[0] == 0
    first = next(records())
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"text": first["text"], "lang": "de", "id": "d0"}) + "\n")
    code, checks = lusifer_("reindex", "verify", job, "--questions", path)
    assert code == 0
    assert checks["gate"]["languages"]["de"]["questions"] == 1
    assert checks["gate"]["languages"]["en"]["questions"] == 0
    path.write_text("{}\n")
    code, refused = lusifer_("reindex", "verify", job, "--questions", path)
    assert (code, "line 1 is no query" in refused["error"]["message"]) == (1, True)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_from_a_file(kind: str, source: Path, new_bundle: Path, tmp_path: Path) -> None:
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        path = tmp_path / "documents.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(list(records())), path)
    else:
        path = source
        with path.open("a") as lines:
            lines.write('{"id": "x"}\n' + json.dumps(next(records())) + "\n")
    database, job = tmp_path / "fresh", tmp_path / "job"
    code, plan = lusifer_(*planning(database, new_bundle, job), "--from", path)
    assert (code, plan["estimate"]["documents"]) == (0, COUNT)
    assert any("are no documents" in each["message"] for each in plan["findings"]) == (
        kind == "jsonl"
    )
    assert not database.exists()
    code, report = lusifer_("reindex", "run", job)
    assert (code, report["phase"], report["totals"]["written"]) == (0, "settled", COUNT)
    code, checks = lusifer_("reindex", "verify", job)
    assert (code, checks["problems"]) == (0, [])
    assert lusifer_("reindex", "switch", job)[0] == 0
    for record in records(3):
        (hit, *_) = search(database, new_bundle, record["text"])
        assert (hit["id"], hit["text"], hit["metadata"]) == (
            record["id"],
            record["text"],
            {"lang": record["lang"]},
        )
    assert lusifer_("reindex", "rollback", job)[0] == 0
    assert EmbeddedCollections(database).aliases() == {}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_at_any_moment(
    how: signal.Signals, database: Path, new_bundle: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    # Slow enough to be stopped in the middle.
    code, _ = lusifer_(*planning(database, new_bundle, job), "--window", 8, "--tokens-per-s", 1000)
    assert code == 0
    command = [*MAIN, "reindex", "run", str(job), "--json"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        while (
            not (job / "state.json").exists()
            or json.loads((job / "state.json").read_bytes())["current"]["read"] < 24
        ):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        process.wait()
    assert process.returncode == (130 if how == signal.SIGTERM else -how)
    _, before = lusifer_("reindex", "status", job)
    assert before["phase"] == "running"
    assert 24 <= before["totals"]["written"] < COUNT
    code, report = lusifer_("reindex", "run", job)
    assert (code, report["phase"]) == (0, "settled")
    # What the killed window had written is found to be right, and not embedded again.
    assert COUNT - 8 <= report["totals"]["written"] <= COUNT
    assert lusifer_("reindex", "verify", job)[1]["problems"] == []


def test_a_plan_from_elsewhere_is_asked_about(
    database: Path, job: Path, new_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole job folder comes from another user: here, one with another cache folder."""
    monkeypatch.setenv("LUSIFER_CACHE", str(tmp_path / "mine"))
    code, refused = lusifer_("reindex", "run", job)
    assert (code, refused["error"]["type"]) == (1, "PlanError")
    assert f"reads and writes {database}" in refused["error"]["message"]
    assert f"reads and writes {new_bundle}" in refused["error"]["message"]
    for command in ("verify", "switch", "rollback"):
        assert lusifer_("reindex", command, job)[1]["error"]["type"] == "PlanError"
    assert lusifer_("reindex", "clean", job, "--yes")[1]["error"]["type"] == "PlanError"
    assert not (job / "state.json").exists()
    only_one = lusifer_("reindex", "run", job, "--allow-path", database)[1]["error"]["message"]
    assert str(database) not in only_one
    code, report = lusifer_(
        "reindex", "run", job, "--allow-path", database, "--allow-path", new_bundle
    )
    assert (code, report["phase"]) == (0, "settled")
    # Allowed once, until the plan changes.
    assert lusifer_("reindex", "verify", job)[0] == 0
    plan = json.loads((job / "plan.json").read_bytes())
    plan["target"]["kind"] = plan["source"]["kind"] = "qdrant"
    plan["target"]["address"] = plan["source"]["address"] = "http://evil.example:6333"
    (job / "plan.json").write_text(json.dumps(plan))
    code, refused = lusifer_("reindex", "run", job, "--allow-path", new_bundle)
    assert code == 1
    message = refused["error"]["message"]
    assert "sends documents and keys to http://evil.example:6333" in message
    assert "--allow-host" in refused["error"]["next_step"]


def test_a_plan_keeps_no_key(
    database: Path, new_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job"
    planning_ = planning(database, new_bundle, job)
    for option in ("--service", "--service-address"):
        given = [each for each in planning_ if each not in ("--bundle", new_bundle)]
        code, refused = lusifer_(*given, option, "http://any:s3cret@127.0.0.1:9/x?key=s3cret")
        assert code == 1
        assert "s3cret" not in json.dumps(refused)
    code, refused = lusifer_(
        "reindex", "plan", "--qdrant", "http://any:s3cret@127.0.0.1:9", "--collection", "a", "--bundle",
        new_bundle, "--job", job,
    )  # fmt: skip
    assert code == 1
    assert refused["error"]["message"] == "Qdrant's address 'http://127.0.0.1:9' can't be used."
    assert "QDRANT_API_KEY" in refused["error"]["next_step"]
    assert not job.exists()
    assert "s3cret" not in "".join(capfd.readouterr())
