"""Plot scores, and write all plots into one self-contained page."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lusifer_evaluation.suite import TITLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lusifer_evaluation.layer_analysis import LayerAnalysis
    from lusifer_evaluation.table import Scores
    from lusifer_training.embed_function import Vectors

__all__ = ["heat_map", "layer_curves", "map_of_sentences", "radar", "report", "score_pictures"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .6rem; text-align: right }
td:first-child { text-align: left } tr:nth-child(even) { background: #f4f4f4 }
figure { display: inline-block; margin: .5rem } img { max-width: 100% }
"""


def heat_map(cells: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Plot a matrix of percents with its numbers, question language by row."""
    rows, columns = list(cells), list(next(iter(cells.values())))
    values = np.array([[cells[a][b] for b in columns] for a in rows])
    figure = Figure(
        figsize=(1.5 + 0.5 * len(columns), 1.2 + 0.42 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(values, cmap="viridis", vmin=min(50, values.min()), vmax=100)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("paragraphs")
    axes.set_ylabel("questions")
    axes.set_title(title, fontsize=10)
    middle = (min(50, values.min()) + 100) / 2
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < middle else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    return figure


def radar(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Plot percents as one closed line for each model and one axis for each language or task."""
    axes_names = list(next(iter(values.values())))
    angles = np.linspace(0, 2 * np.pi, len(axes_names), endpoint=False)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots(subplot_kw={"projection": "polar"})
    lowest = min(min(each.values()) for each in values.values())
    for name, each in values.items():
        line = [each[key] for key in axes_names]
        axes.plot([*angles, angles[0]], [*line, line[0]], label=name, linewidth=1.2)
    axes.set_xticks(angles, axes_names, fontsize=7)
    # The axis starts at a round number below the lowest, so that models can be distinguished.
    axes.set_ylim(max(0.0, 10 * np.floor(lowest / 10) - 10), 100)
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1.15, -0.1), fontsize=7)
    return figure


def map_of_sentences(
    vectors: Mapping[str, Vectors], topics: Sequence[str], title: str, *, seed: int = 0
) -> Figure:
    """Plot t-SNE of parallel sentences, once coloured by language and once by topic.

    Args:
        vectors: ``(N, D)`` by language, row n the same sentence in all.
        topics: Topic of each sentence, N names.
        title: Title of the plot.
        seed: Seed of t-SNE.
    """
    from openTSNE import TSNE

    points = np.concatenate(list(vectors.values()))
    perplexity = max(2.0, min(30.0, (len(points) - 1) / 3))
    tsne = TSNE(perplexity=perplexity, metric="cosine", random_state=seed, neighbors="exact")
    places = np.asarray(tsne.fit(points))
    languages = np.repeat(list(vectors), len(topics))
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, labels, name in zip(
        figure.subplots(1, 2),
        (languages, np.tile(topics, len(vectors))),
        ("language", "topic"),
        strict=True,
    ):
        colours = mpl.colormaps["tab20"]
        for number, label in enumerate(dict.fromkeys(labels.tolist())):
            chosen = places[labels == label]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=6, color=colours(number % 20), label=label)
        axes.set_title(f"{title}, by {name}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(fontsize=6, markerscale=2, ncols=2)
    return figure


def layer_curves(analysis: LayerAnalysis) -> Figure:
    """Plot alignment, retrieval and language by site, and where each language is aligned."""
    sites = [each.site for each in analysis.sites]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots()
    for name, title in (
        ("mexa", "MEXA"),
        ("r1", "R@1, pairs"),
        ("r1_mixed", "R@1, mixed"),
        ("language", "language probe"),
        ("random_cosine", "cosine of random pairs"),
    ):
        axes.plot([getattr(each, name) for each in analysis.sites], marker=".", label=title)
    for number, (language, site) in enumerate(analysis.meeting.items()):
        spread = analysis.meeting_spread[language]
        axes.errorbar(site, -0.03 - 0.025 * number, xerr=spread, fmt="|", color="grey", capsize=2)
        axes.annotate(
            language,
            (site, -0.03 - 0.025 * number),
            fontsize=6,
            xytext=(4, -2),
            textcoords="offset points",
        )
    axes.set_xticks(range(len(sites)), sites, rotation=60, fontsize=7)
    axes.set_ylim(-0.06 - 0.025 * len(analysis.meeting), 1.03)
    axes.set_title(
        "Where languages meet; "
        "below: first site with 0.9 of the best MEXA with English, ± bootstrap"
    )
    axes.legend(fontsize=8)
    return figure


def score_pictures(scores: Mapping[str, Scores]) -> dict[str, Figure]:
    """Plot heat maps of each model, and radar charts of all models by task and by language."""
    pictures = {}
    for name, each in scores.items():
        if "xquad" in each.details:
            pictures[f"xquad-{_file(name)}"] = heat_map(
                each.details["xquad"]["r1"], f"XQuAD R@1, {name}"
            )
        if "stsb" in each.details:
            pictures[f"stsb-{_file(name)}"] = heat_map(
                each.details["stsb"], f"STS-B Spearman, {name}"
            )
    for task in ("tatoeba", "sib200", "tweets"):
        if all(task in each.details for each in scores.values()):
            values = {name: each.details[task] for name, each in scores.items()}
            pictures[f"languages-{task}"] = radar(values, f"{task} by language")
    shared = [
        name
        for name in TITLES
        if all(name in each.measures for each in scores.values()) and "↓" not in TITLES[name]
    ]
    if len(shared) >= 3:
        values = {name: {key: each[key] for key in shared} for name, each in scores.items()}
        pictures["tasks"] = radar(values, "All measures where more is better")
    return pictures


def report(pictures: Mapping[str, Figure], scores: Mapping[str, Scores], folder: Path) -> Path:
    """Write each plot as PNG, and ``report.html`` with the table and all plots.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for name, figure in pictures.items():
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        (folder / f"{name}.png").write_bytes(buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        figures.append(
            f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}"></figure>'
        )
    page = folder / "report.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>LUSIFER evaluation</title>'
        f"<style>{_STYLE}</style><h1>LUSIFER evaluation</h1>"
        f"{_html_table(scores)}{''.join(figures)}</html>\n",
        encoding="utf-8",
    )
    return page


def _html_table(scores: Mapping[str, Scores]) -> str:
    def row(cells: Sequence[object], tag: str) -> str:
        return (
            "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"
        )

    rows = [row(["", *scores], "th")]
    for name, title in TITLES.items():
        if all(name in each.measures for each in scores.values()):
            cells = [each.measures[name] for each in scores.values()]
            rows.append(
                row(
                    [
                        title,
                        *(
                            f"{c.value:.1f} ({c.interval[0]:.1f}–{c.interval[1]:.1f})"
                            for c in cells
                        ),
                    ],
                    "td",
                )
            )
    return f"<table>{''.join(rows)}</table>"


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
