"""``lusifer eval xmrc``: the error analysis of cross-lingual retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lusifer_evaluation.cli.options import (
    DEFAULT_DATA,
    CacheOption,
    DataOption,
    JsonOption,
    ModelArgument,
    SizeOption,
    cache_folder,
)
from lusifer_evaluation.cli.output import echo, echo_json, format_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["xmrc"]


def xmrc(
    model: ModelArgument = "lusifer",
    size: SizeOption = "quick",
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A-B",
            help="Question and paragraph language of the evidence oracle, repeatable.",
        ),
    ] = None,
    needle: Annotated[
        list[str] | None,
        typer.Option(help="Language of the needle grid, repeatable; at least two."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse the errors of a model: ratios, error split, evidence and read-out oracles, needles.

    Ratios, error split and read-out oracle use the vectors of the table. The evidence oracle embeds
    each paragraph once without each of its sentences, and the needle grid 3 L² documents for each
    paragraph. Both run only for the languages that you name.

    Examples:
        lusifer eval xmrc lusifer --pair en-en --pair ar-en --needle en --needle hi
    """
    from lusifer_evaluation import error_analysis, retrieval
    from lusifer_evaluation.model_sources import open_source
    from lusifer_evaluation.table import named
    from lusifer_evaluation.tasks import SIZES, load_xquad
    from lusifer_training.vector_cache import CachedEmbedder

    sets = load_xquad(data, named("size", size, SIZES).xquad)
    vectors = CachedEmbedder(cache_folder(cache), open_source(model))
    questions = {name: vectors(each.texts, each.role) for name, each in sets.questions.items()}
    paragraphs = {name: vectors(each.texts, each.role) for name, each in sets.paragraphs.items()}
    matrix = retrieval.retrieval_matrix(questions, paragraphs, sets.answers)
    ratios = error_analysis.ratios(matrix.cells("r1"))
    split = error_analysis.error_split(questions, paragraphs, sets)
    readout = error_analysis.readout_oracle(questions, paragraphs, sets)
    found: dict[str, object] = {
        "ratios": ratios,
        "error_split": split,
        "readout_oracle": readout,
    }
    tables = [
        format_table("R@1 over English to English", ratios, digits=2),
        format_table("First hit in the mixed pool, %", split),
        format_table("Read-out oracle, other articles, %", readout),
    ]
    if pair:
        pairs = [(a, b) for a, _, b in (each.partition("-") for each in pair)]
        _check_languages((code for each in pairs for code in each), sets.languages, "--pair")
        oracle = error_analysis.evidence_oracle(vectors, sets, pairs)
        evidence = {f"{a}-{b}": each for (a, b), each in oracle.items()}
        found["evidence_oracle"] = evidence
        tables.append(format_table("Evidence oracle, %", evidence))
    if needle:
        _check_languages(needle, sets.languages, "--needle")
        grid = error_analysis.needle_grid(vectors, sets, needle)
        found["needle_grid"] = grid
        title = "Needle grid: question, needle, distractors, position; %"
        tables.append(format_table(title, dict(map(_needle_row, grid))))
    if as_json:
        echo_json(found)
        return
    for each in tables:
        echo(each)


def _check_languages(codes: Iterable[str], known: tuple[str, ...], option: str) -> None:
    if unknown := set(codes) - set(known):
        raise typer.BadParameter(
            f"no such language: {', '.join(sorted(unknown))}", param_hint=option
        )


def _needle_row(row: Mapping[str, object]) -> tuple[str, dict[str, float]]:
    name = " ".join(str(row[key]) for key in ("question", "needle", "distractor", "position"))
    return name, {"r1": float(str(row["r1"]))}
