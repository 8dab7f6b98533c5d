"""``lusifer info``: shows the model and the versions it runs with."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lusifer.cli import options
from lusifer.cli.common import Command, console, write_json
from lusifer.common.terminal import printable

if TYPE_CHECKING:
    from lusifer.engines.selection import Choice, Trial

__all__ = ["COMMAND", "info"]

_PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tritonclient",
    "tokenizers",
    "qdrant-edge-py",
    "pydantic",
    "typer",
    "torch",
    "transformers",
)


def info(bundle: options.Bundle = None, as_json: options.Json = False) -> None:
    """Show the model: dimensions, fingerprint, bundle, engine, versions.

    To measure the engines on this machine for the first time, run: LUSIFER_ENGINE=auto lusifer info
    """
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle
    from lusifer.engines.selection import choose_engine, default_engine, kept_choice

    opened = Bundle.open(default_bundle() if bundle is None else bundle)
    manifest = opened.manifest
    engine = default_engine()
    choice = choose_engine(opened) if engine == "auto" else kept_choice(opened)
    fields: dict[str, object] = {
        "model": manifest.name,
        "dimension": manifest.dimension,
        "matryoshka_dimensions": list(manifest.matryoshka_dimensions),
        "fingerprint": manifest.fingerprint,
        "bundle": str(opened.path.resolve()),
        "precision": manifest.precision,
        "gate": manifest.gate,
        "engine": engine,
        "fastest_engine": asdict(choice) if choice else None,
        "maximum_tokens": manifest.maximum_tokens,
        "role_prompts": manifest.role_prompts.model_dump(),
        "languages_evaluated": list(manifest.languages_evaluated),
        "created_with": dict(manifest.created_with),
        "versions": _versions(),
    }
    if as_json:
        write_json(fields)
    else:
        _show({**fields, "fastest_engine": _fastest(choice)})


COMMAND = Command(
    info,
    (
        "lusifer info",
        "lusifer info --json --bundle ./my-bundle",
    ),
)


def _versions() -> dict[str, str]:
    from lusifer._version import __version__

    versions = {"lusifer": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _show(fields: dict[str, object]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    # Fold, because a fingerprint that is cut short is useless.
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), _readable(value))
    console().print(table)


def _fastest(choice: Choice | None) -> str:
    if choice is None:
        return "not measured; run LUSIFER_ENGINE=auto lusifer info"
    trials = "; ".join(map(_trial, choice.trials))
    return f"{choice.engine} ({trials}; {choice.threads} threads, {choice.cpu})"


def _trial(trial: Trial) -> str:
    if trial.problem:
        return f"{trial.engine} can't be used: {trial.problem}"
    if trial.query_ms is None:
        return f"{trial.engine} not measured"
    return f"{trial.engine} {trial.query_ms} ms a query, {trial.tokens_per_s:,} tokens/s"


def _readable(value: object) -> str:
    if isinstance(value, dict):
        shown = (
            f"{key} {item!r}" if item != str(item).strip() else f"{key} {item}"
            for key, item in value.items()
        )
        return printable(", ".join(shown))
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    return printable(str(value))
