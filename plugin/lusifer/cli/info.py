"""``lusifer info``: which model this is, and with which versions it runs."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lusifer.cli.common import BundleOption, JsonOption, console, write_json

__all__ = ["EXAMPLES", "info"]

EXAMPLES = (
    "lusifer info",
    "lusifer info --json --bundle ./my-bundle",
)

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


def info(bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """Show the model: dimensions, fingerprint, bundle, engine, versions.

    LUSIFER_ENGINE=auto lusifer info measures the engines, if that was not done yet on this machine.
    """
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle
    from lusifer.engines.selection import choose_engine, default_engine, kept_choice

    opened = Bundle.open(default_bundle() if bundle is None else bundle)
    manifest = opened.manifest
    engine = default_engine()
    choice = choose_engine(opened) if engine == "auto" else kept_choice(opened)
    fields: dict[str, Any] = {
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
        _show(fields)


def _versions() -> dict[str, str]:
    from lusifer._version import __version__

    versions = {"lusifer": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _show(fields: dict[str, Any]) -> None:
    from rich.table import Table

    fields = {**fields, "fastest_engine": _fastest(fields["fastest_engine"])}

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    # A fingerprint cut short is of no use.
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), _readable(value))
    console().print(table)


def _fastest(choice: dict[str, Any] | None) -> str:
    if choice is None:
        return "not measured; LUSIFER_ENGINE=auto lusifer info does"
    trials = "; ".join(map(_trial, choice["trials"]))
    return f"{choice['engine']} ({trials}; {choice['threads']} threads, {choice['cpu']})"


def _trial(trial: dict[str, Any]) -> str:
    if trial["problem"]:
        return f"{trial['engine']} can't be used: {trial['problem']}"
    if trial["query_ms"] is None:
        return f"{trial['engine']} not measured"
    return (
        f"{trial['engine']} {trial['query_ms']} ms a question, {trial['tokens_per_s']:,} tokens/s"
    )


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {item!r}" if item != str(item).strip() else f"{key} {item}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
