from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin.tests.cli.commands import ENVIRONMENT, MAIN
from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app


def embed(
    bundle: Path, *arguments: str, stdin: bytes | None = None
) -> tuple[int, list[dict[str, Any]]]:
    command = ["embed", "--role", "query", "--json", "--bundle", str(bundle), *arguments]
    result = CliRunner().invoke(app, command, input=stdin, catch_exceptions=False)
    return result.exit_code, [json.loads(line) for line in result.stdout.split("\n") if line]


def test_one_line_for_each_text_in_order(tiny_bundle: Path) -> None:
    code, lines = embed(tiny_bundle, "the cat", "猫はマット", "the cat")
    assert code == 0
    assert [list(line) for line in lines] == [["embedding", "tokens", "truncated"]] * 3
    assert lines[0] == lines[2] != lines[1]
    assert all(abs(np.linalg.norm(line["embedding"]) - 1) < 1e-3 for line in lines)
    assert lines[0]["truncated"] is False


def test_the_numbers_are_those_of_the_library(tiny_bundle: Path) -> None:
    _, lines = embed(tiny_bundle, "the cat")
    with lusifer.Vectorizer.load(tiny_bundle) as vectorizer:
        expected = vectorizer.embed_query("the cat")
    np.testing.assert_allclose(lines[0]["embedding"], expected.vector, rtol=1e-6)
    assert lines[0]["tokens"] == expected.tokens


def test_role_and_dimension_matter(tiny_bundle: Path) -> None:
    _, (query,) = embed(tiny_bundle, "the cat")
    _, (document,) = embed(tiny_bundle, "the cat", "--role", "document")
    _, (short,) = embed(tiny_bundle, "the cat", "--dimension", "8")
    assert query["embedding"] != document["embedding"]
    assert len(short["embedding"]) == 8


def test_bad_lines_are_answered_in_their_place(tiny_bundle: Path, tmp_path: Path) -> None:
    texts = [
        b"\xef\xbb\xbfgood",
        b"",
        b"  \t",
        b"a\x00b",
        b"caf\xe9",
        b"\xed\xa0\x80",
        "a\u2028b".encode(),
        b"good",
    ]
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\r\n".join(texts))
    code, lines = embed(tiny_bundle, "--input", str(path))
    assert code == 1
    assert [line.get("error", {}).get("line") for line in lines] == [
        None,
        2,
        3,
        4,
        5,
        6,
        None,
        None,
    ]
    assert lines[0] == lines[7]
    assert "0xE9" in lines[4]["error"]["message"]
    assert set(lines[4]["error"]) == {"type", "message", "next_step", "status", "retryable", "line"}


def test_standard_input(tiny_bundle: Path) -> None:
    code, lines = embed(tiny_bundle, "--input", "-", stdin=b"one\ntwo\n")
    assert (code, len(lines)) == (0, 2)


@pytest.mark.parametrize("policy", ["truncate", "mean_of_windows", "error"])
def test_a_million_characters(tiny_bundle: Path, tmp_path: Path, policy: str) -> None:
    path = tmp_path / "long.txt"
    path.write_text("wort " * 200_000 + "\nshort\n")
    code, (long, short) = embed(tiny_bundle, "--input", str(path), "--long-text", policy)
    assert "embedding" in short
    if policy == "error":
        assert (code, long["error"]["type"]) == (1, "TextTooLongError")
    else:
        assert code == 0
        assert long["truncated"] is (policy == "truncate")


def test_unknown_languages(tiny_bundle: Path) -> None:
    code, lines = embed(tiny_bundle, "tlhIngan maH!", "ሰላም ለዓለም", "𐌲𐌿𐍄𐌹𐍃𐌺", "👋🏽")
    assert code == 0
    assert all(abs(np.linalg.norm(line["embedding"]) - 1) < 1e-3 for line in lines)


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "newer", "no manifest"])
def test_a_bundle_that_is_broken(tiny_bundle: Path, tmp_path: Path, damage: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in tiny_bundle.iterdir():
        (bundle / file.name).write_bytes(file.read_bytes())
    weights, manifest = bundle / "model.onnx.data", bundle / "manifest.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif damage == "changed":
        weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    elif damage == "removed":
        weights.unlink()
    elif damage == "newer":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    else:
        manifest.unlink()
    code, (line,) = embed(bundle, "text")
    kind = {"newer": "BundleSchemaError", "no manifest": "BundleNotFoundError"}.get(
        damage, "BundleCorruptError"
    )
    assert (code, line["error"]["type"]) == (1, kind)
    assert line["error"]["next_step"]


def test_error_for_people_is_two_lines_on_standard_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["embed", "--role", "query", "--bundle", str(tmp_path / "no"), "x"]
    )
    assert (result.exit_code, result.stdout) == (1, "")
    what, next_step = result.stderr.splitlines()
    assert what.startswith("Error: No bundle at")
    assert next_step.startswith("Name the folder")


@pytest.mark.parametrize(
    "arguments",
    [["x"], ["--role", "query"], ["--role", "query", "x", "--input", "-"], ["--role", "poem", "x"]],
)
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["embed", *arguments]).exit_code == 2


def test_missing_input_file(tiny_bundle: Path) -> None:
    code, (line,) = embed(tiny_bundle, "--input", "/nowhere/texts.txt")
    assert (code, line["error"]["type"]) == (1, "InvalidInputError")


def test_for_people(tiny_bundle: Path) -> None:
    command = ["embed", "--role", "query", "--bundle", str(tiny_bundle), "the cat", ""]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert result.stdout.startswith("1: 16 numbers, ")
    assert result.stderr.startswith("Text 2: The text is empty")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_on_a_full_disk(tiny_bundle: Path) -> None:
    command = [*MAIN, "embed", "--role", "query", "--json", "--bundle", str(tiny_bundle), "x"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
        )
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[0]
        == "Error: Could not write to standard output: No space left on device."
    )
    assert len(done.stderr.splitlines()) == 2


def test_a_reader_that_leaves_early(tiny_bundle: Path) -> None:
    command = [
        *MAIN,
        "embed",
        "--role",
        "query",
        "--json",
        "--bundle",
        str(tiny_bundle),
        "--input",
        "-",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"the cat sits\n" * 3000)
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_memory_does_not_grow_with_the_lines(tiny_bundle: Path) -> None:
    program = (
        "import resource, sys\nfrom lusifer.cli.app import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    peaks_kib = []
    for lines in (2_000, 20_000):
        command = [sys.executable, "-c", program, "embed", "--role", "query", "--json"]
        done = subprocess.run(
            [*command, "--bundle", str(tiny_bundle), "--input", "-"],
            input=b"the dog runs in the park, " * 10 + b"\n" + b"the cat\n" * lines,
            capture_output=True,
            env=ENVIRONMENT,
            check=True,
        )
        assert done.stdout.count(b"\n") == lines + 1
        peaks_kib.append(int(done.stderr))
    assert peaks_kib[1] - peaks_kib[0] < 16_000
