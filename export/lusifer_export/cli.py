"""``lusifer export``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import Annotated

import typer

export_app = typer.Typer(add_completion=False)


@export_app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    target: Annotated[Path, typer.Argument(help="Bundle folder to write.")],
    precision: Annotated[str, typer.Option(help="fp32, or int8 weights.")] = "int8",
    as_json: Annotated[bool, typer.Option("--json", help="The parity report as JSON.")] = False,
) -> None:
    """Checkpoint to ONNX bundle; fails if its vectors leave those of PyTorch.

    Example:
        lusifer export runs/small/checkpoint bundles/small --precision fp32
    """
    if precision not in ("fp32", "int8"):
        raise typer.BadParameter(f"{precision!r} is not one of: fp32, int8", param_hint="--precision")
    from lusifer_export.build import export_checkpoint

    bundle = export_checkpoint(checkpoint, target, precision=precision)
    report = json.loads((bundle.path / "parity_report.json").read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(f"{bundle.path}  {bundle.manifest.fingerprint}")
    for language, scores in report["languages"].items():
        typer.echo(f"  {language}  mean {scores['mean']:.6f}  worst {scores['worst']:.6f}")
