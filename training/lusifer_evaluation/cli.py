"""``lusifer eval``."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import platformdirs
import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from matplotlib.figure import Figure

    from lusifer_training.embed_function import EmbedFunction

eval_app = typer.Typer(no_args_is_help=True, help="Cross-lingual evaluation.", add_completion=False)

DataOption = Annotated[
    Path, typer.Option("--data", envvar="LUSIFER_DATA", help="Folder with eval/.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of vectors and results already computed; the user's cache by default."
    ),
]
SizeOption = Annotated[
    str,
    typer.Option(
        help="How much of each set: smoke, quick, standard, full or all. Smaller pools are easier."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="All numbers as JSON.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="As for lusifer eval table.")]
CheckpointArgument = Annotated[
    Path | None, typer.Argument(help="Checkpoint folder; by default the one that ships.")
]
DEFAULT_DATA = Path("../shared/data")
DEFAULT_MODELS = ["raw-encoder", "encoder-only", "lusifer-unprojected", "lusifer"]


@eval_app.callback()
def evaluation() -> None:
    """Cross-lingual evaluation."""


@eval_app.command("table")
def table(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="raw-encoder, raw-llm, encoder-only, lusifer-unprojected, lusifer, bundle; the folder of a "
            "checkpoint, a bundle or a sentence-transformers model; a service's address; MODULE:FUNCTION. "
            "NAME=MODEL names the column. Default: the model and its controls.",
        ),
    ] = None,
    size: SizeOption = "standard",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Only this task, repeatable: xquad, tatoeba, stsb, sib200, tweets."),
    ] = None,
    languages: Annotated[bool, typer.Option(help="Also rows for each language.")] = False,
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: JsonOption = False,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and report.html, one page that needs nothing else."),
    ] = None,
) -> None:
    """Score models on the same sets, side by side, with intervals of 95 %.

    What was computed once is read from the cache, so that an interrupted run goes on where it was.
    A bold + or − says that a model differs from the first one by more than chance (paired
    bootstrap).

    Examples:
        lusifer eval table --size quick

        lusifer eval table raw-encoder mine=runs/small/checkpoint http://localhost:8000 --task xquad
    """
    from lusifer_evaluation.model_sources import named_source, open_source
    from lusifer_evaluation.table import evaluate, markdown_table

    opened, scores = {}, {}
    for name, source in map(named_source, models or DEFAULT_MODELS):
        opened[name] = open_source(source)
        with _progress(name) as progress:
            scores[name] = evaluate(
                opened[name],
                data_folder=data,
                cache_folder=_cache(cache),
                size=size,
                tasks=task,
                progress=progress,
            )
    if as_json:
        _echo_json({name: each.as_dict() for name, each in scores.items()})
    else:
        typer.echo(markdown_table(scores, languages=languages))
    if plots:
        from lusifer_evaluation.plots import report, score_pictures

        pictures = score_pictures(scores) | _maps(opened, data, _cache(cache))
        pictures |= _curves(dict(map(named_source, models or DEFAULT_MODELS)), data)
        typer.echo(report(pictures, scores, plots), err=True)


def _cache(folder: Path | None) -> Path:
    return folder or platformdirs.user_cache_path("lusifer") / "eval"


def _maps(opened: Mapping[str, EmbedFunction], data: Path, cache: Path) -> dict[str, Figure]:
    """t-SNE of twenty parallel sentences a language, of every model."""
    from lusifer_evaluation.plots import map_of_sentences
    from lusifer_evaluation.tasks import load_sib200
    from lusifer_training.vector_cache import CachedEmbedder

    sets = load_sib200(data, train=1, test=20)
    topics = next(iter(sets.test_labels.values())).tolist()
    pictures = {}
    for name, embedder in opened.items():
        vectors = CachedEmbedder(cache, embedder)
        points = {language: vectors(each.texts, each.role) for language, each in sets.test.items()}
        pictures[f"map-{name.replace('/', '-')}"] = map_of_sentences(points, topics, name)
    return pictures


def _curves(sources: Mapping[str, str], data: Path) -> dict[str, Figure]:
    """Layer curves of every model that is a checkpoint, from forty parallel questions a language."""
    from lusifer_evaluation.layer_analysis import parallel_questions, phase_scores, site_states
    from lusifer_evaluation.model_sources import checkpoint_folder
    from lusifer_evaluation.plots import phase_curves
    from lusifer_evaluation.tasks import load_xquad

    texts = parallel_questions(load_xquad(data, 40), 40)
    return {
        f"layers-{name.replace('/', '-')}": phase_curves(phase_scores(site_states(folder, texts)))
        for name, source in sources.items()
        if (folder := checkpoint_folder(source))
    }


@eval_app.command("xmrc")
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
    """Say why a model misses across languages: ratios, error split, evidence and read-out oracles, needles.

    Ratios, error split and read-out oracle come from the vectors of the table. The evidence oracle
    embeds each paragraph once without each of its sentences, and the needle grid 3 L² documents a
    paragraph: name the languages they shall look at.

    Examples:
        lusifer eval xmrc lusifer --pair en-en --pair ar-en --needle en --needle hi
    """
    from lusifer_evaluation import error_analysis as analysis
    from lusifer_evaluation import metrics
    from lusifer_evaluation.model_sources import open_source
    from lusifer_evaluation.table import named
    from lusifer_evaluation.tasks import SIZES, load_xquad
    from lusifer_training.vector_cache import CachedEmbedder

    sets = load_xquad(data, named("size", size, SIZES).xquad)
    vectors = CachedEmbedder(_cache(cache), open_source(model))
    questions = {name: vectors(each.texts, each.role) for name, each in sets.questions.items()}
    paragraphs = {name: vectors(each.texts, each.role) for name, each in sets.paragraphs.items()}
    matrix = metrics.retrieval_matrix(questions, paragraphs, sets.answers)
    found: dict[str, Any] = {
        "ratios": analysis.ratios(matrix.cells("r1")),
        "error_split": analysis.error_split(questions, paragraphs, sets),
        "readout_oracle": analysis.readout_oracle(questions, paragraphs, sets),
    }
    if pair:
        pairs = [(a, b) for a, _, b in (each.partition("-") for each in pair)]
        if unknown := {code for each in pairs for code in each} - set(sets.languages):
            raise typer.BadParameter(
                f"no such language: {', '.join(sorted(unknown))}", param_hint="--pair"
            )
        oracle = analysis.evidence_oracle(vectors, sets, pairs)
        found["evidence_oracle"] = {f"{a}-{b}": each for (a, b), each in oracle.items()}
    if needle:
        if unknown := set(needle) - set(sets.languages):
            raise typer.BadParameter(
                f"no such language: {', '.join(sorted(unknown))}", param_hint="--needle"
            )
        found["needle_grid"] = analysis.needle_grid(vectors, sets, needle)
    if as_json:
        _echo_json(found)
        return
    typer.echo(_table("R@1 over English to English", found["ratios"], digits=2))
    typer.echo(_table("First hit in the mixed pool, %", found["error_split"]))
    typer.echo(_table("Read-out oracle, other articles, %", found["readout_oracle"]))
    if pair:
        typer.echo(_table("Evidence oracle, %", found["evidence_oracle"]))
    if needle:
        rows = {
            " ".join(str(row[key]) for key in ("question", "needle", "distractor", "position")): {
                "r1": row["r1"]
            }
            for row in found["needle_grid"]
        }
        typer.echo(_table("Needle grid: question, needle, distractors, position; %", rows))


@eval_app.command("phases")
def phases(
    checkpoint: CheckpointArgument = None,
    sentences: Annotated[
        int, typer.Option(min=10, help="Parallel sentences of each language.")
    ] = 100,
    plot: Annotated[Path | None, typer.Option(help="Picture to write, PNG or SVG.")] = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Show where in a model languages meet: alignment, retrieval, language and collapse at every layer.

    Parallel XQuAD questions are read; their pooled states are scored at every encoder layer, the
    connector, every LLM layer, the output, and the projected output.

    Examples:
        lusifer eval phases --sentences 60 --plot phases.png
    """
    from dataclasses import asdict

    from lusifer_evaluation.layer_analysis import parallel_questions, phase_scores, site_states
    from lusifer_evaluation.plots import phase_curves
    from lusifer_evaluation.tasks import load_xquad
    from lusifer_training.config import default_checkpoint

    texts = parallel_questions(load_xquad(data, sentences), sentences)
    found = phase_scores(site_states(checkpoint or default_checkpoint(), texts))
    if plot:
        phase_curves(found).savefig(plot, dpi=110)
    meeting = {
        language: {"site": found.sites[site].site, "spread": found.meeting_spread[language]}
        for language, site in found.meeting.items()
    }
    sites = {
        each.site: {k: v for k, v in asdict(each).items() if k != "site"} for each in found.sites
    }
    if as_json:
        _echo_json({"sites": sites, "meeting": meeting})
        return
    typer.echo(_table("Site", sites, digits=2))
    for language, each in meeting.items():
        typer.echo(f"{language} meets English at {each['site']} (± {each['spread']:.1f} sites)")


@eval_app.command("subspace")
def subspace(
    checkpoint: CheckpointArgument = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="JSON lines of language and text; as for lusifer train subspace."),
    ] = None,
    ranks: Annotated[
        str, typer.Option(help="Numbers of directions to try.")
    ] = "1,2,4,8,16,28,40,56",
    size: SizeOption = "quick",
    data: DataOption = DEFAULT_DATA,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sweep the rank of a language projection: XQuAD in pairs of languages and in one pool.

    Beside each rank stand the vectors as they are, and de-meaned: less the mean of their own
    language, which needs to know the language of every text.

    Examples:
        lusifer eval subspace runs/small/checkpoint --ranks 5,10,20,40
    """
    from lusifer_evaluation.rank_sweep import sweep
    from lusifer_evaluation.table import named
    from lusifer_evaluation.tasks import SIZES, load_xquad
    from lusifer_training.config import default_checkpoint
    from lusifer_training.data.monolingual import monolingual_file
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.language_subspace import language_means, load_monolingual
    from lusifer_training.vector_cache import CachedEmbedder

    folder = _cache(cache)
    vectors = CachedEmbedder(
        folder, checkpoint_embedder(checkpoint or default_checkpoint(), projected=False)
    )
    monolingual = load_monolingual(texts or monolingual_file(folder.parent))
    means = language_means(vectors, monolingual)
    sets = load_xquad(data, named("size", size, SIZES).xquad)
    found = sweep(vectors, sets, means, [int(rank) for rank in ranks.split(",")])
    if as_json:
        _echo_json(found)
    else:
        typer.echo(_table("XQuAD", found))


@eval_app.command("mteb")
def run_mteb(
    model: ModelArgument = "lusifer",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task of mteb, repeatable. Default: the paper's datasets."),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder of mteb's results; a run goes on there.")
    ] = Path("mteb"),
    as_json: JsonOption = False,
) -> None:
    """Run tasks of MTEB, by default the paper's 14 languages; extra mteb, and a model hub to download from.

    Examples:
        lusifer eval mteb lusifer --task STSBenchmark --task SIB200Classification
    """
    import mteb

    from lusifer_evaluation import mteb_adapter

    tasks = [mteb.get_task(each) for each in task] if task else mteb_adapter.paper_benchmark().tasks
    found = mteb_adapter.run_mteb(model, list(tasks), output)
    if as_json:
        _echo_json(found)
    else:
        typer.echo(_table("Task", {name: {"score": value} for name, value in found.items()}))


def _echo_json(found: object) -> None:
    # What has no value is null: NaN is no JSON, and strict readers refuse it.
    typer.echo(json.dumps(found, allow_nan=False))


def _table(title: str, rows: Mapping[str, Mapping[str, float | None]], *, digits: int = 1) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    lines += [
        f"| {name} | " + " | ".join(_digits(row[column], digits) for column in columns) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _digits(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        found: dict[str, int] = {}

        def tell(task: str, done: int, total: int) -> None:
            if task not in found:
                found[task] = bars.add_task(f"{name}: {task}", total=total)
            bars.update(found[task], completed=done, total=total)

        yield tell
