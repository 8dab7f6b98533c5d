"""Runs commands for the tests of the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import lusifer
from lusifer.cli.app import app

MAIN = [sys.executable, "-c", "from lusifer.cli.app import main; main()"]
"""The command as a process of its own; add the arguments."""

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(lusifer.__file__).parents[1]),
    "PYTHONWARNINGS": "error",
}


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command; return exit code, standard output and standard error."""
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def run_json(*arguments: object, stdin: bytes | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Run a command with ``--json``; return exit code and the lines of standard output."""
    command = [*map(str, arguments), "--json"]
    result = CliRunner().invoke(app, command, input=stdin, catch_exceptions=False)
    return result.exit_code, [json.loads(line) for line in result.stdout.split("\n") if line]
