"""Parts common to the benchmarks: the page they write into, and the speed of the engine alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer_training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS_PAGE = ROOT / "docs" / "results.md"

_RATE = """
import json, sys, time
from lusifer import Vectorizer
texts = json.load(sys.stdin)
vectorizer = Vectorizer.load()
list(vectorizer.stream(texts[:64], 'document', window=64))
start = time.perf_counter()
tokens = sum(each.tokens for each in vectorizer.stream(texts, 'document', window=256))
took_s = time.perf_counter() - start
print(len(texts) / took_s, tokens / took_s)
"""


def parser_for(docstring: str | None) -> argparse.ArgumentParser:
    """Make a parser with the module's docstring as help and the option ``--write``."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write", action="store_true", help=f"put the table into {RESULTS_PAGE.relative_to(ROOT)}"
    )
    return parser


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--data`` and ``--debian`` of benchmarks that train."""
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with train/ and eval/"
    )
    parser.add_argument(
        "--debian", type=Path, required=True, help="made by python -m lusifer.demo.debian"
    )


def small_recipe(debian: Path) -> Recipe:
    """Return the default recipe, with the Debian pairs from the given file."""
    from lusifer_training.recipe import load_recipe

    recipe = load_recipe(ROOT / "training" / "configs" / "small.yaml")
    datasets = {
        name: each.model_copy(update={"file": str(debian.resolve())} if "debian" in name else {})
        for name, each in recipe.datasets.items()
    }
    return recipe.model_copy(update={"datasets": datasets})


def write_table(name: str, table: str, page: Path = RESULTS_PAGE) -> None:
    """Put a table between its two markers in the page of results.

    Raises:
        SystemExit: The page does not hold both markers once.
    """
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page} must hold {start} and {end}, once each.")
    before, after = text.split(start)[0], text.split(end)[1]
    page.write_text(f"{before}{start}\n\n{table}\n\n{end}{after}", encoding="utf-8")


def engine_rate(texts: Sequence[str]) -> tuple[float, float]:
    """Measure documents and tokens per second of the default engine, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _RATE],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        check=True,
    )
    documents_per_s, tokens_per_s = map(float, done.stdout.split())
    return documents_per_s, tokens_per_s
