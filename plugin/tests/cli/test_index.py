from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.cli.commands import ENVIRONMENT, MAIN, run, run_json
from typer.testing import CliRunner

from lusifer.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path


def index(
    bundle: Path, source: Path | str, folder: Path, *more: str
) -> tuple[int, list[dict[str, Any]]]:
    """Run ``lusifer index`` on a folder."""
    return run_json("index", source, "--index", folder, "--bundle", bundle, *more)


def test_index_twice_then_search(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    code, (first,) = index(tiny_bundle, source, folder)
    assert (code, first["added"], first["count"]) == (0, 30, 30)
    code, (second,) = index(tiny_bundle, source, folder)
    assert (code, second["added"], second["unchanged"], second["count"]) == (0, 0, 30, 30)
    question = ("search", "document number 7", "--index", folder, "--bundle", tiny_bundle)
    code, hits = run_json(*question, "--limit", "5")
    assert code == 0
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert [list(hit) for hit in hits] == [["rank", "id", "score", "text", "metadata"]] * 5
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(hit["text"] == f"document number {hit['metadata']['n']}" for hit in hits)


def test_for_people(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    with source.open("a") as lines:
        lines.write("broken\n" * 15)
    options = ["--index", str(tmp_path / "index"), "--bundle", str(tiny_bundle)]
    result = CliRunner().invoke(app, ["index", str(source), *options])
    assert result.exit_code == 1
    assert result.stdout.startswith("30 added, 0 unchanged, 15 rejected in")
    assert "Rejected documents.jsonl line 31: The line is not JSON" in result.stderr
    assert "and 5 more" in result.stderr
    result = CliRunner().invoke(app, ["search", "number", "--limit", "2", *options])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4


def test_standard_input_and_other_fields(tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = (
        "--index",
        tmp_path / "i",
        "--bundle",
        tiny_bundle,
        "--text-field",
        "body",
    )
    code, (report,) = run_json(
        "index", "-", *arguments, stdin=b'{"body": "one"}\n{"body": "two"}\n'
    )
    assert (code, report["added"]) == (0, 2)


def test_rejected_records_are_listed(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    source.write_text('{"text": "good"}\n{"text": "\\ud83d"}\nbroken\n')
    code, (report,) = index(tiny_bundle, source, tmp_path / "index")
    assert (code, report["added"], report["rejected_count"]) == (1, 1, 2)
    assert [record["where"] for record in report["rejected"]] == [
        "documents.jsonl line 2",
        "documents.jsonl line 3",
    ]


def test_index_of_another_model(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index(tiny_bundle, source, folder)
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(
        json.dumps({**manifest, "fingerprint": "sha256:" + "0" * 64})
    )
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    for command in (("index", source), ("search", "number")):
        code, (line,) = run_json(*command, "--index", folder, "--bundle", other)
        assert (code, line["error"]["type"], line["error"]["status"]) == (
            1,
            "FingerprintMismatchError",
            409,
        )
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


def test_full_disk(
    tiny_bundle: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(tiny_bundle, source, tmp_path / "index")
    source.write_text('{"text": "one more"}\n')
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage)
        code, (line,) = index(tiny_bundle, source, tmp_path / "index")
    assert (code, line["error"]["type"], line["error"]["status"]) == (1, "StorageFullError", 507)
    assert "0 documents of this run are safe" in line["error"]["message"]
    code, (report,) = index(tiny_bundle, source, tmp_path / "index")
    assert (code, report["added"], report["count"]) == (0, 1, 31)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT of another process")
def test_ctrl_c_in_the_middle_then_the_same_command_again(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    count = 1_500
    source = tmp_path / "documents.jsonl"
    source.write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(count)))
    command = [*MAIN, "-v", "index", str(source), "--index", str(tmp_path / "index")]
    command += ["--bundle", str(tiny_bundle), "--json", "--window", "32"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A shell's background job, as CI may be, hands down SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while "Stored so far: 96 added" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read()
        first = json.loads(process.stdout.read())
        assert process.wait(120) == 130, first
    assert first["interrupted"]
    assert 96 <= first["added"] == first["count"] < count
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    second = json.loads(done.stdout)
    assert done.returncode == 0
    assert (second["unchanged"], second["added"]) == (first["added"], count - first["added"])
    assert second["count"] == count


def test_sync_deletes_what_left_the_source(tiny_bundle: Path, tmp_path: Path) -> None:
    folder, source = tmp_path / "index", tmp_path / "d.jsonl"
    place = ("--index", folder, "--bundle", tiny_bundle, "--json", "--sync")

    def index(count: int, *more: str) -> tuple[int, dict[str, Any]]:
        rows = ({"id": f"d{i}", "text": f"document number {i}"} for i in range(count))
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        code, (line,) = run_json("index", source, *place, *more)
        return code, line

    code, line = index(40)
    assert (code, line["added"], line["deleted"], line["count"]) == (0, 40, 0, 40)
    code, line = index(38)
    assert (code, line["unchanged"], line["deleted"], line["count"]) == (0, 38, 2, 38)
    code, line = index(10)
    assert code == 1
    assert "28 of 38 documents are not in the source" in line["error"]["message"]
    code, line = index(10, "--force")
    assert (code, line["deleted"], line["count"]) == (0, 28, 10)
    code, _, stderr = run("index", source, "--index", folder, "--bundle", tiny_bundle, "--force")
    assert (code, "--force is given without --sync" in stderr) == (1, True)


def test_long_documents_are_split_and_found_once(tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    folder, source = tmp_path / "index", tmp_path / "d.jsonl"
    rows = [
        {"id": "long", "text": "The cat sits on the mat. The dog runs in the park. " * 10},
        {"id": "short", "text": "The dog"},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, (line,) = index(tiny_bundle, source, folder, "--json", "--split", "20", "--sync")
    assert (code, line["deleted"], line["truncated"]) == (0, 0, 0)
    assert line["count"] > 5
    assert "1 of 2 documents were split" in line["notes"][0]
    code, hits = run_json("search", "cat", "--index", folder, "--bundle", tiny_bundle, "--json")
    assert sorted(hit["id"] for hit in hits) == ["long", "short"]
    assert all("lusifer_part_of" not in hit["metadata"] for hit in hits)
    assert run("delete", "long", "--index", folder)[1].endswith(f"1 documents in {folder}\n")
    code, (line,) = index(tiny_bundle, source, folder, "--json", "--split", "500")
    assert (code, line["error"]["type"]) == (1, "InvalidInputError")
