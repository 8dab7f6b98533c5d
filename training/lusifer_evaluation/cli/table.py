"""``lusifer eval table``: models side by side on the same sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer_evaluation.cli.options import (
    DEFAULT_DATA,
    CacheOption,
    DataOption,
    JsonOption,
    SizeOption,
    cache_folder,
)
from lusifer_evaluation.cli.output import echo, echo_json, show_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from lusifer_training.embed_function import EmbedFunction

__all__ = ["table"]

DEFAULT_MODELS = [
    "raw-encoder",
    "raw-encoder-fitted",
    "encoder-only",
    "lusifer-unprojected",
    "lusifer",
]
MAP_SENTENCES = 20
"""Parallel sentences of each language in a map."""
CURVE_QUESTIONS = 40
"""Parallel questions of each language in layer curves."""


def table(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="raw-encoder, raw-encoder-fitted (centred and projected), raw-llm, encoder-only, "
            "lusifer-unprojected, lusifer, bundle; the folder of a checkpoint, a bundle or a "
            "sentence-transformers model; a service's address; MODULE:FUNCTION. NAME=MODEL names "
            "the column. Default: the model and its controls.",
        ),
    ] = None,
    size: SizeOption = "standard",
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this task, repeatable: xquad, tatoeba, stsb, sib200, news, debian, help, "
            "tweets."
        ),
    ] = None,
    languages: Annotated[bool, typer.Option(help="Add rows for each language.")] = False,
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: JsonOption = False,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for plots and for report.html, one self-contained page."),
    ] = None,
) -> None:
    """Score models on the same sets, side by side, with intervals of 95 %.

    Computed vectors and results are cached, so that an interrupted run resumes. A bold + or − marks
    a model that differs from the first one by more than chance (paired bootstrap).

    The sets debian and help are downloaded with apt at the first run; without apt they are left
    out, and so is the mean of all sets.

    Examples:
        lusifer eval table --size quick

        lusifer eval table raw-encoder mine=runs/small/checkpoint http://localhost:8000 --task xquad
    """
    from lusifer_evaluation.model_sources import named_source, open_source
    from lusifer_evaluation.table import evaluate, markdown_table

    sources = dict(map(named_source, models or DEFAULT_MODELS))
    folder = cache_folder(cache)
    opened, scores = {}, {}
    for name, source in sources.items():
        opened[name] = open_source(source)
        with show_progress(name) as progress:
            scores[name] = evaluate(
                opened[name],
                data_folder=data,
                cache_folder=folder,
                size=size,
                tasks=task,
                progress=progress,
            )
    if as_json:
        echo_json({name: each.as_dict() for name, each in scores.items()})
    else:
        echo(markdown_table(scores, languages=languages))
    if plots:
        from lusifer_evaluation.plots import report, score_pictures

        pictures = score_pictures(scores) | _maps(opened, data, folder) | _curves(sources, data)
        echo(report(pictures, scores, plots), err=True)


def _maps(opened: Mapping[str, EmbedFunction], data: Path, cache: Path) -> dict[str, Figure]:
    """Plot t-SNE of parallel sentences for every model."""
    from lusifer_evaluation.plots import map_of_sentences
    from lusifer_evaluation.tasks import load_sib200
    from lusifer_training.vector_cache import CachedEmbedder

    sets = load_sib200(data, train=1, test=MAP_SENTENCES)
    topics = next(iter(sets.test_labels.values())).tolist()
    pictures = {}
    for name, embedder in opened.items():
        vectors = CachedEmbedder(cache, embedder)
        points = {language: vectors(each.texts, each.role) for language, each in sets.test.items()}
        pictures[f"map-{name.replace('/', '-')}"] = map_of_sentences(points, topics, name)
    return pictures


def _curves(sources: Mapping[str, str], data: Path) -> dict[str, Figure]:
    """Plot layer curves of every model that is a checkpoint."""
    from lusifer_evaluation.layer_analysis import analyse_layers, parallel_questions, site_states
    from lusifer_evaluation.model_sources import checkpoint_folder
    from lusifer_evaluation.plots import layer_curves
    from lusifer_evaluation.tasks import load_xquad

    texts = parallel_questions(load_xquad(data, CURVE_QUESTIONS), CURVE_QUESTIONS)
    return {
        f"layers-{name.replace('/', '-')}": layer_curves(analyse_layers(site_states(folder, texts)))
        for name, source in sources.items()
        if (folder := checkpoint_folder(source))
    }
