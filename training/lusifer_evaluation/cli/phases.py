"""``lusifer eval phases``: the layer analysis of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer_evaluation.cli.options import (
    DEFAULT_DATA,
    CheckpointArgument,
    DataOption,
    JsonOption,
)
from lusifer_evaluation.cli.output import echo, echo_json, format_table

__all__ = ["phases"]


def phases(
    checkpoint: CheckpointArgument = None,
    sentences: Annotated[
        int, typer.Option(min=10, help="Parallel sentences of each language.")
    ] = 100,
    plot: Annotated[Path | None, typer.Option(help="Plot to write, PNG or SVG.")] = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Show at every layer how languages align: alignment, retrieval, language and collapse.

    The texts are parallel XQuAD questions. Their pooled states are scored at every encoder layer,
    the connector, every LLM layer, the output, and the projected output.

    Examples:
        lusifer eval phases --sentences 60 --plot phases.png
    """
    from dataclasses import asdict

    from lusifer_evaluation.layer_analysis import analyse_layers, parallel_questions, site_states
    from lusifer_evaluation.plots import layer_curves
    from lusifer_evaluation.tasks import load_xquad
    from lusifer_training.config import default_checkpoint

    texts = parallel_questions(load_xquad(data, sentences), sentences)
    found = analyse_layers(site_states(checkpoint or default_checkpoint(), texts))
    if plot:
        layer_curves(found).savefig(plot, dpi=110)
    meeting = {
        language: {"site": found.sites[site].site, "spread": found.meeting_spread[language]}
        for language, site in found.meeting.items()
    }
    sites = {
        each.site: {k: v for k, v in asdict(each).items() if k != "site"} for each in found.sites
    }
    if as_json:
        echo_json({"sites": sites, "meeting": meeting})
        return
    echo(format_table("Site", sites, digits=2))
    for language, each in meeting.items():
        echo(f"{language} meets English at {each['site']} (± {each['spread']:.1f} sites)")
