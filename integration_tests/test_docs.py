"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lusifer

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(lusifer.__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
ENTRY_POINT_GROUPS = {"lusifer.commands", "lusifer.bundle_builders"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_the_reference_is_current() -> None:
    cli = ROOT / "docs" / "cli.py"
    done = subprocess.run(
        [sys.executable, str(cli), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_dependency_has_its_reason() -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    lists = [
        PROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *groups.values(),
    ]
    names = {
        re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0]
        for each in chain(*lists)
        if isinstance(each, str)
    }
    explained = set(re.findall(r"^\| `([^`]+)` \|", _text("docs/decisions.md"), re.MULTILINE))
    assert names - {"lusifer"} == explained


def test_the_changelog_knows_this_version() -> None:
    assert re.search(
        rf"^## \[{re.escape(lusifer.__version__)}\]", _text("CHANGELOG.md"), re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    broken = [each for each in targets if "://" not in each and not (page.parent / each).exists()]
    assert broken == []


def test_the_front_page_of_the_documentation_links_every_page() -> None:
    front = ROOT / "docs" / "index.md"
    linked = set(re.findall(r"\]\(([^)#\s]+\.md)", front.read_text(encoding="utf-8")))
    pages = {str(page.relative_to(front.parent)) for page in front.parent.rglob("*.md")}
    assert pages - linked == {"index.md"}, "give each a row in the table of docs/index.md"


@pytest.mark.parametrize("command", ["demo", "test", "setup", "docs", "fmt", "lint", "weaviate"])
def test_jobs_that_the_pages_name_exist(command: str) -> None:
    assert re.search(rf"^{command}:", _text("Makefile"), re.MULTILINE)


def test_commands_and_options_that_the_pages_name_exist() -> None:
    reference = _text("docs/reference/cli.md")
    known = set(re.findall(r"^## (lusifer.*)$", reference, re.MULTILINE))
    for page in PAGES:
        blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in "\n".join(blocks).splitlines():
            if not (
                found := re.search(
                    r"(?:^|[ /])(lusifer (?:(?:doctor|eval|keys|qdrant|reindex|train|weaviate) )?[a-z]+)"
                    r"([^|>#]*)",
                    line,
                )
            ):
                continue
            command, rest = found.groups()
            assert command in known, f"{page}: {line}"
            section = reference.split(f"## {command}\n")[1].split("\n## ")[0]
            for option in re.findall(r"(?<=\s)--[a-z-]+", re.sub(r'"[^"]*"', "", rest)):
                assert option in section, f"{page}: {line}"


# The changelog also has the names of the past.
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_names_of_the_code_exist(page: Path) -> None:
    """Every dotted name between backticks, documented member and name that an example imports."""
    text = page.read_text(encoding="utf-8")
    packages = r"lusifer(?:_training|_evaluation|_export)?"
    names = set(re.findall(rf"`({packages}(?:\.\w+)+)", text))
    names |= set(re.findall(rf"^::: ({packages}(?:\.\w+)*)", text, re.MULTILINE))
    for source, members in re.findall(
        rf"^::: ({packages}[\w.]*)\n\s+options:\n\s+members: \[([^\]]+)\]", text, re.MULTILINE
    ):
        names |= {f"{source}.{name.strip()}" for name in members.split(",")}
    for source, imported in re.findall(rf"from ({packages}[\w.]*) import ([\w, ]+)", text):
        names |= {f"{source}.{name.strip()}" for name in imported.split(",")}
    for name in sorted(names - ENTRY_POINT_GROUPS):
        pkgutil.resolve_name(name)


def test_the_first_examples_run(tmp_path: Path) -> None:
    """The README's first example, and the tutorial's own documents, index and query."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("qdrant_edge")
    fixtures = module(ROOT / "plugin" / "tests" / "conftest.py")
    bundle = fixtures.make_bundle(tmp_path / "staging", tmp_path / "bundle")
    environment = {
        **os.environ,
        "LUSIFER_BUNDLE": str(bundle.path),
        "PYTHONPATH": str(Path(lusifer.__file__).parents[1]),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The other examples of the README run with the real model, in the tests of the databases.
    readme, *_ = _blocks("README.md", "python")
    assert len([line for line in readme.splitlines() if line]) <= 10
    assert "GIMP" in run("-c", readme)
    (records,) = _blocks("docs/tutorial.md", "json")
    (tmp_path / "recipes.jsonl").write_text(records, encoding="utf-8")
    (index,) = re.findall(r"lusifer (index .+)", _text("docs/tutorial.md"))
    run("-c", "from lusifer.cli.app import main; main()", *index.split())
    (query,) = _blocks("docs/tutorial.md", "python")
    assert {line.split()[0] for line in run("-c", query).splitlines()} == {"soup", "bread", "tea"}


def test_the_benchmark_counts_what_the_model_computes() -> None:
    benchmark = module(ROOT / "benchmarks" / "embed_documents.py")
    shape = {
        "encoder_layers": 1,
        "encoder_hidden": 2,
        "encoder_intermediate": 3,
        "llm_layers": 0,
        "output": 2,
    }
    # Four 2x2 and two 2x3 products for each of 5 tokens, and 5x5 scores and sums over 2 numbers.
    assert benchmark.flops_of_text(shape, 5) == 2 * 5 * (4 * 4 + 2 * 6) + 2 * (2 * 5 * 5 * 2)


def test_a_benchmark_writes_between_its_markers(tmp_path: Path) -> None:
    report = module(ROOT / "benchmarks" / "report.py")
    page = tmp_path / "results.md"
    page.write_text(_text("docs/results.md"), encoding="utf-8")
    report.write_table("soak", "| a table |", page)
    report.write_table("soak", "| another |", page)
    text = page.read_text(encoding="utf-8")
    assert text.count("| another |") == 1
    assert "| a table |" not in text
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit, match="once each"):
        report.write_table("soak", "| a table |", page)


def test_the_results_have_the_markers_of_every_benchmark() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")]
    names = re.findall(r'write_table\(\s*"(\w+)"', "\n".join(sources))
    assert len(names) == 9
    page = _text("docs/results.md")
    for name in names:
        assert page.count(f"<!-- {name}: start -->") == 1
        assert page.count(f"<!-- {name}: end -->") == 1


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _text(page), re.DOTALL)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
