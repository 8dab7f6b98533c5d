"""``lusifer export``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lusifer.bundle import PRECISIONS

if TYPE_CHECKING:
    from lusifer.bundle import Precision

export_app = typer.Typer(add_completion=False)


@export_app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    target: Annotated[Path, typer.Argument(help="Bundle folder to write.")],
    precision: Annotated[
        str,
        typer.Option(help=f"{', '.join(PRECISIONS)}; or auto: the first of these that passes the gate."),
    ] = "int8-dynamic",
    keep_failed: Annotated[
        bool,
        typer.Option(
            "--keep-failed", help="Write a bundle that the gate refuses, for study; nothing serves it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The gate's report as JSON.")] = False,
) -> None:
    """Checkpoint to ONNX bundle; fails if its vectors leave those of PyTorch in any language.

    Example:
        lusifer export runs/small/checkpoint bundles/small --precision auto
    """
    if precision not in ("auto", *PRECISIONS):
        known = ", ".join(("auto", *PRECISIONS))
        raise typer.BadParameter(f"{precision!r} is not one of: {known}", param_hint="--precision")
    from lusifer_export.build import export_checkpoint

    bundle = export_checkpoint(
        checkpoint,
        target,
        precision=cast("Precision", precision),
        keep_failed=keep_failed,
    )
    report = json.loads((bundle.path / "parity_report.json").read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(f"{bundle.path}  {bundle.manifest.fingerprint}")
    typer.echo(f"{bundle.manifest.precision}: the gate says {report['verdict']}")
    for language, scores in report["languages"].items():
        retrieval = scores["retrieval"]
        typer.echo(
            f"  {language}  mean {scores['mean']:.6f}  worst {scores['worst']:.6f}  "
            f"R@1 {retrieval['pytorch']:.3f} -> {retrieval['exported']:.3f}"
        )
    for failure in report["failures"]:
        typer.echo(f"  refused: {failure}")
