"""The command ``lusifer export``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lusifer.bundle.format import PRECISIONS, Bundle

if TYPE_CHECKING:
    from lusifer.bundle.format import Precision
    from lusifer_export.report import GateReport
    from lusifer_export.triton.config import Device

export_app = typer.Typer(add_completion=False)


@export_app.command()
def export(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint folder, or a bundle for --triton."),
    ] = None,
    target: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="Bundle folder to write.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(PRECISIONS)}; or auto: the first of these that passes the gate."
        ),
    ] = "int8-dynamic",
    keep_failed: Annotated[
        bool,
        typer.Option(
            "--keep-failed",
            help="Also write a bundle that failed the quality gate, for study; nothing serves it.",
        ),
    ] = False,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Add the bundle to this Triton model repository as a new version."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device that serves the repository: cpu, gpu or gpu-tensorrt.")
    ] = "cpu",
    tensorrt: Annotated[
        bool,
        typer.Option(
            "--tensorrt", help="Also build a TensorRT engine for this GPU into the bundle."
        ),
    ] = False,
    rollback: Annotated[
        int | None,
        typer.Option(metavar="VERSION", help="Make an older version of --triton DIR live again."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the gate's report as JSON.")
    ] = False,
) -> None:
    """Compile a checkpoint into an ONNX bundle, and compare it with PyTorch in every language.

    Example:
        lusifer export runs/small/checkpoint bundles/small --precision auto
        lusifer export runs/small/checkpoint bundles/small --triton /srv/models
        lusifer export bundles/small --triton /srv/models --device gpu
        lusifer export --triton /srv/models --rollback 1
        lusifer export runs/small/checkpoint bundles/small --precision fp16 --tensorrt
    """
    _one_of(precision, ("auto", *PRECISIONS), "--precision")
    _one_of(device, ("cpu", "gpu", "gpu-tensorrt"), "--device")
    if rollback is not None:
        if triton is None or source is not None:
            raise typer.BadParameter(
                "goes with --triton DIR and nothing else", param_hint="--rollback"
            )
        _rollback(triton, rollback)
        return
    if source is None or (target is None and triton is None and not tensorrt):
        raise typer.BadParameter(
            "name a checkpoint and a bundle, or a bundle and --triton or --tensorrt"
        )
    if target is None:
        bundle = Bundle.open(source)
    else:
        from lusifer_export.build import export_checkpoint

        bundle = export_checkpoint(
            source, target, precision=cast("Precision", precision), keep_failed=keep_failed
        )
    if tensorrt:
        from lusifer_export.tensorrt import build_engine

        typer.echo(build_engine(bundle), err=as_json)
    if triton is not None and bundle.manifest.gate == "passed":
        from lusifer_export.triton.config import Serving
        from lusifer_export.triton.repository import write_repository

        version = write_repository(bundle, triton, Serving(device=cast("Device", device)))
        _show_load_commands(triton, version, to_stderr=as_json)
    content = (bundle.path / "parity_report.json").read_text(encoding="utf-8")
    report: GateReport = json.loads(content)
    if as_json:
        typer.echo(json.dumps(report))
    elif target is not None:
        _show(bundle, report)


def _rollback(triton: Path, version: int) -> None:
    from lusifer_export.triton.repository import activate

    activate(triton, version)
    _show_load_commands(triton, version, to_stderr=False)


def _show_load_commands(triton: Path, version: int, *, to_stderr: bool) -> None:
    from lusifer_export.triton.repository import LOAD_ORDER

    typer.echo(
        f"{triton}: version {version} is the one that Triton loads next: restart it, or in the "
        "mode explicit send:",
        err=to_stderr,
    )
    for name in LOAD_ORDER:
        typer.echo(
            f"  curl -X POST http://localhost:8000/v2/repository/models/{name}/load", err=to_stderr
        )


def _show(bundle: Bundle, report: GateReport) -> None:
    typer.echo(f"{bundle.path}  {bundle.manifest.fingerprint}")
    typer.echo(f"{bundle.manifest.precision}: quality gate {report['verdict']}")
    for language, scores in report["languages"].items():
        retrieval = scores["retrieval"]
        typer.echo(
            f"  {language}  mean {scores['mean']:.6f}  worst {scores['worst']:.6f}  "
            f"R@1 {retrieval['pytorch']:.3f} -> {retrieval['exported']:.3f}"
        )
    for failure in report["failures"]:
        typer.echo(f"  failed: {failure}")


def _one_of(value: str, known: tuple[str, ...], option: str) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of: {', '.join(known)}", param_hint=option)
