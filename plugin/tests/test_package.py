from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from packaging.specifiers import SpecifierSet

import lusifer
from lusifer import errors

PACKAGE = Path(lusifer.__file__).parent
DEBIAN_PYTHON = "3.11.2"
LONGEST_MODULE = 400
TOP_LEVEL_FILES = {"__init__.py", "_version.py", "errors.py", "types.py", "py.typed"}
HEAVY = ["torch", "transformers", "onnxruntime", "numpy", "pydantic", "tokenizers", "qdrant_edge"]


def test_all_is_sorted_complete_and_importable() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lusifer.")
        for alias in node.names
    } - {"*"}
    own = [name for name in lusifer.__all__ if name not in errors.__all__]
    assert own == sorted(guarded), "what type checkers see and what is exported differ"
    assert lusifer.__all__ == own + errors.__all__
    assert errors.__all__ == sorted(errors.__all__)
    for name in lusifer.__all__:
        assert getattr(lusifer, name) is not None
        assert name in dir(lusifer)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(lusifer, "Vectoriser")


def test_version_is_that_of_the_distribution() -> None:
    assert version("lusifer") == lusifer.__version__


def test_every_pinned_version_runs_on_debians_python() -> None:
    """pip does not see a version that asks for a newer Python, and the setup ends with a conflict."""
    pins = (PACKAGE.parents[1] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    asked = {}
    for name, pinned in (pin.split("==") for pin in pins if "==" in pin):
        try:
            asked[f"{name}=={pinned}"] = SpecifierSet(metadata(name).get("Requires-Python") or "")
        # An extra that is not installed here.
        except PackageNotFoundError:
            continue
    assert len(asked) > 100
    assert [pin for pin, python in asked.items() if not python.contains(DEBIAN_PYTHON)] == []


def test_import_is_light_and_fast() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import lusifer; took = time.perf_counter() - start; "
        f"print(took, [name for name in {HEAVY} if name in sys.modules])"
    )
    # The best of three: the machine may be busy with something else.
    runs = [_python(code).split(" ", 1) for _ in range(3)]
    assert all(loaded.strip() == "[]" for _, loaded in runs), runs
    assert min(float(took_s) for took_s, _ in runs) < 0.3


def test_the_core_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import lusifer; "
        "[getattr(lusifer, name) for name in lusifer.__all__]; print('onnxruntime' in sys.modules)"
    )
    assert _python(code).strip() == "False"


def test_no_module_is_long() -> None:
    root = PACKAGE.parents[1]
    folders = [
        root / "plugin" / "lusifer",
        root / "training" / "lusifer_training",
        root / "training" / "lusifer_evaluation",
        root / "export" / "lusifer_export",
    ]
    modules = {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    assert len(modules) > 150
    assert {name: lines for name, lines in modules.items() if lines > LONGEST_MODULE} == {}


def test_the_top_level_holds_packages_and_four_modules() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert {path.name for path in entries if path.is_file()} == TOP_LEVEL_FILES
    for folder in (path for path in entries if path.is_dir()):
        assert (folder / "__init__.py").is_file(), f"{folder.name} is no package"


def _python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
