"""Score several models on the same sets, from cached vectors, in one table with intervals."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lusifer.common.files import write_atomic
from lusifer.demo.debian import DebianUnavailableError
from lusifer_evaluation.bootstrap import Measure, mean_of
from lusifer_evaluation.suite import CHOICE, TASKS, TITLES, Details, Task
from lusifer_evaluation.tasks import SIZES, Size
from lusifer_training.errors import ConfigError
from lusifer_training.vector_cache import CachedEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from lusifer_evaluation.tasks import TextSet
    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["Scores", "evaluate", "markdown_table", "named"]

_log = logging.getLogger(__name__)

REVISION = 3
"""Version of the metrics. It is raised when a metric changes, so that old results are not read."""

_SETS = {
    "xquad": "XQuAD",
    "pool": "Mixed pool",
    "tatoeba": "Tatoeba",
    "news": "MasakhaNEWS",
    "debian": "Debian",
    "help": "Help",
}
"""Names of retrieval sets in the rows of a language."""

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one model.

    Attributes:
        measures: Measures by name, such as ``xquad.r1.different``.
        details: Tables by language or pair of languages, JSON-ready.
        left_out: Why a set was left out, by task.
    """

    measures: dict[str, Measure] = field(default_factory=dict)
    details: Details = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """Return the value of one measure, in percent."""
        return self.measures[name].value

    def as_dict(self) -> dict[str, object]:
        """Return measures and details as JSON-ready fields."""
        measures = {name: measure.as_dict() for name, measure in self.measures.items()}
        return {"measures": measures, "details": self.details, "left_out": self.left_out}


def evaluate(
    embedder: EmbedFunction,
    *,
    data_folder: Path,
    cache_folder: Path,
    size: str | Size = "standard",
    tasks: Iterable[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Scores:
    """Embed the sets and score them; cached vectors and results are not computed again.

    Args:
        embedder: The measured model.
        data_folder: Holds ``eval/``.
        cache_folder: Vectors by model and text, results by model and texts.
        size: A name in ``SIZES``, or a size.
        tasks: Names in ``TASKS``. By default all, but those whose packages can't be downloaded
            are left out with a warning.
        progress: Called with a task's name, the number of embedded texts and the number of all
            texts that are not cached.

    Raises:
        ConfigError: A size or a task is unknown.
        DataError: The evaluation data is missing or broken.
        DebianUnavailableError: The packages of a named task can't be downloaded.
    """
    chosen = named("size", size, SIZES) if isinstance(size, str) else size
    scores = Scores()
    for name in TASKS if tasks is None else tasks:
        task = named("task", name, TASKS)
        try:
            sets = task.read(data_folder, cache_folder, chosen)
        except DebianUnavailableError as error:
            if tasks is not None:
                raise
            scores.left_out[name] = error.message
            _log.warning("the set %s is left out: %s", name, error.message)
            continue
        path = cache_folder / "results" / f"{_result_key(embedder, task, sets)}.json"
        if path.is_file():
            measures, details = _read(path)
        else:
            vectors = CachedEmbedder(cache_folder, embedder)
            _fill(vectors, task.texts(sets), partial(progress, name) if progress else None)
            measures, details = task.score(sets, partial(_vectors_of, vectors))
            _write(path, measures, details)
            _log.info("scored %s", name)
        scores.measures.update(measures)
        scores.details.update(details)
    if all(name in scores.measures for name in CHOICE):
        scores.measures["choice"] = mean_of([scores.measures[name] for name in CHOICE])
    return scores


def markdown_table(scores: Mapping[str, Scores], *, languages: bool = False) -> str:
    """Format scores as a table, with models by column and measures with intervals of 95 % by row.

    The others are compared with the first model. A paired difference whose interval does not
    contain 0 is marked with ``+`` or ``−``.

    Args:
        scores: Scores by the name of the model.
        languages: Whether to add retrieval by question language and Tatoeba by language.
    """
    first, *others = scores.values()
    names = [name for name in TITLES if all(name in each.measures for each in scores.values())]
    lines = ["| | " + " | ".join(scores) + " |", "|---" + "|---:" * len(scores) + "|"]
    for name in names:
        cells = [_cell(first.measures[name])]
        cells += [_cell(each.measures[name], first.measures[name]) for each in others]
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    if languages:
        for title, values in _by_language(list(scores.values())):
            lines.append(f"| {title} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    left_out = {name: why for each in scores.values() for name, why in each.left_out.items()}
    lines += [f"\nWithout {name}: {why}" for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def _cell(measure: Measure, against: Measure | None = None) -> str:
    low, high = measure.interval
    mark = ""
    if against is not None:
        _, (least, most) = measure.difference(against)
        mark = " **+**" if least > 0 else " **−**" if most < 0 else ""
    return f"{measure.value:.1f} ({low:.1f}–{high:.1f}){mark}"


def _by_language(scores: list[Scores]) -> Iterable[tuple[str, list[float]]]:
    details = scores[0].details
    for language in details.get("xquad", {}).get("r1", {}):
        yield (
            f"XQuAD R@1, question {language}, other paragraphs",
            [
                float(
                    np.mean(
                        [v for b, v in s.details["xquad"]["r1"][language].items() if b != language]
                    )
                )
                for s in scores
            ],
        )
    for language in details.get("tatoeba", {}):
        yield f"Tatoeba {language}", [s.details["tatoeba"][language] for s in scores]
    for name in ("news", "debian", "help"):
        for language in details.get(name, {}).get("mrr10", {}):
            values = [s.details[name]["mrr10"][language] for s in scores]
            yield f"{_SETS[name]} MRR@10 {language}", values
    for name, title in _SETS.items():
        for kind, what in (("first_share", "most frequent first hit"), ("skew", "skew")):
            key = f"{name}.hubness"
            for language in details.get(key, {}).get(kind, {}):
                yield (
                    f"{title}, {what} {language}",
                    [s.details[key][kind][language] for s in scores],
                )


def named(kind: str, name: str, known: Mapping[str, T]) -> T:
    """Return the value of a name.

    Args:
        kind: Kind of the name, for the error.
        name: The name.
        known: Values by name.

    Raises:
        ConfigError: The name is unknown; the error lists the known names.
    """
    if name not in known:
        raise ConfigError(
            f"There is no {kind} {name!r}.", next_step=f"Choose from {', '.join(known)}."
        )
    return known[name]


def _fill(
    vectors: CachedEmbedder, sets: list[TextSet], progress: Callable[[int, int], None] | None
) -> None:
    """Compute the missing vectors of all sets together, for fuller batches and one progress."""
    by_role: dict[Role, list[str]] = {}
    for each in sets:
        by_role.setdefault(each.role, []).extend(each.texts)
    total = sum(len(vectors.missing(texts, role)) for role, texts in by_role.items())
    done = 0
    for role, texts in by_role.items():
        for count in vectors.fill(texts, role):
            done += count
            if progress:
                progress(done, total)


def _vectors_of(vectors: CachedEmbedder, texts: TextSet) -> Vectors:
    return vectors(texts.texts, texts.role)


def _result_key(embedder: EmbedFunction, task: Task[S], sets: S) -> str:
    key = hashlib.sha256(f"{REVISION}\0{embedder.identity}\0".encode())
    for each in task.texts(sets):
        for text in (each.name, each.role, *each.texts):
            key.update(text.encode() + b"\0")
    return key.hexdigest()[:32]


def _read(path: Path) -> tuple[dict[str, Measure], Details]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    measures = {
        name: Measure(each["value"], np.array(each["replicates"]))
        for name, each in stored["measures"].items()
    }
    return measures, stored["details"]


def _write(path: Path, measures: dict[str, Measure], details: Details) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "measures": {
            name: {"value": each.value, "replicates": each.replicates.tolist()}
            for name, each in measures.items()
        },
        "details": details,
    }
    write_atomic(path, json.dumps(stored))
