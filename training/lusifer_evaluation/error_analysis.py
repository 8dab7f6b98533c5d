"""Analyse the errors of a cross-lingual retriever: the analysis of xMRC (arXiv 2504.10906).

* **Ratios**: each cell of the XQuAD matrix divided by English to English.
* **Error split**: kinds of the first hits in the mixed pool. A wrong hit is in the question's
  language, of the right article, or neither.
* **Evidence oracle**: the sentence of the right paragraph whose removal lowers the cosine with the
  question most. If it is the sentence with the answer although the paragraph isn't found, the
  vector has the evidence and the ranking is at fault.
* **Read-out oracle**: the gain of a linear fix that was fitted on other articles. It is the cost of
  an offset between languages.
* **Needle grid**: a sentence in one language inside sentences of another, at the start, in the
  middle and at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge

from lusifer_evaluation import metrics, retrieval
from lusifer_training.language_subspace import LanguageMeans, language_basis, project_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from lusifer_evaluation.tasks import XquadSet
    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

    Fix: TypeAlias = Callable[[str, Vectors, Role], Vectors]

__all__ = [
    "error_split",
    "evidence_oracle",
    "needle_grid",
    "ratios",
    "readout_oracle",
    "sentences",
]

POSITIONS = {"start": 0.0, "middle": 0.5, "end": 1.0}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？।])\s*|(?<=[؟])\s+")
_THAI_SPACE = re.compile(r" (?=[\u0e00-\u0e7f])")


def ratios(cells: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Divide the percent of each pair of languages by that of English to English.

    A ratio of 1 is no penalty for the languages. It is None if English finds nothing either.
    """
    english = cells["en"]["en"]
    return {
        a: {b: value / english if english else None for b, value in row.items()}
        for a, row in cells.items()
    }


def error_split(
    questions: Mapping[str, Vectors], paragraphs: Mapping[str, Vectors], data: XquadSet
) -> dict[str, dict[str, float]]:
    """Split the questions of each language by their first hit in the mixed pool, in percent.

    The kinds are ``right``; ``near``, another paragraph of the article in any language;
    ``language``, another article in the question's language; and ``content``, another article in
    another language.
    """
    languages = tuple(questions)
    pool = np.concatenate([paragraphs[language] for language in languages])
    count = len(data.articles)
    split = {}
    for number, language in enumerate(languages):
        first = (questions[language] @ pool.T).argmax(axis=1)
        paragraph, own = first % count, first // count == number
        right = paragraph == data.answers
        near = ~right & (data.articles[paragraph] == data.articles[data.answers])
        wrong = ~right & ~near
        kinds = {"right": right, "near": near, "language": wrong & own, "content": wrong & ~own}
        split[language] = {kind: float(100 * each.mean()) for kind, each in kinds.items()}
    return split


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph into sentences; Thai is split at the spaces between its phrases."""
    found = [each for each in _SENTENCE_END.split(paragraph) if each.strip()]
    if len(found) < 3 and re.search(r"[\u0e00-\u0e7f]{20}", paragraph):
        found = [each for each in _THAI_SPACE.split(paragraph) if each.strip()]
    return found


def evidence_oracle(
    embedder: EmbedFunction, data: XquadSet, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, float | None]]:
    """Test whether the vector of a paragraph depends on the sentence with the answer.

    Args:
        embedder: The analysed model; each paragraph is embedded once without each sentence.
        data: Questions, paragraphs and answers.
        pairs: Question language and paragraph language.

    Returns:
        By pair, in percent: ``oracle``, the share of questions where removing the sentence with the
        answer lowers the cosine most; ``chance``; ``r1``; and ``seen_but_missed``, the oracle among
        the questions whose paragraph isn't the first hit. A value is None if it has no questions:
        none is missed, or no answer lies in one sentence.
    """
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    for a, b in pairs:
        texts = data.paragraphs[b].texts
        split = [sentences(text) for text in texts]
        usable = [number for number, each in enumerate(split) if len(each) > 1]
        without = [
            " ".join(each[:drop] + each[drop + 1 :])
            for number in usable
            for each in [split[number]]
            for drop in range(len(each))
        ]
        offsets = dict(zip(usable, np.cumsum([0, *(len(split[n]) for n in usable)]), strict=False))
        less = embedder(without, "document") if without else np.zeros((0, 0))
        full = embedder(texts, "document")
        asked = embedder(data.questions[a].texts, "query")
        first = (asked @ full.T).argmax(axis=1) == data.answers
        hits, chances, seen = [], [], []
        for question, paragraph in enumerate(data.answers):
            answer = data.answer_texts[b][question]
            parts = split[paragraph]
            holds = [number for number, part in enumerate(parts) if answer and answer in part]
            # An answer in two sentences, or across them, has no single sentence.
            if paragraph not in offsets or len(holds) != 1:
                continue
            start = offsets[paragraph]
            drops = (
                asked[question] @ full[paragraph]
                - less[start : start + len(parts)] @ asked[question]
            )
            hits.append(int(drops.argmax()) == holds[0])
            chances.append(1 / len(parts))
            seen.append(not first[question])
        hit, missed = np.array(hits, dtype=float), np.array(seen, dtype=bool)
        found[a, b] = {
            "oracle": _percent(hit),
            "chance": _percent(np.array(chances)),
            "r1": _percent(first),
            "seen_but_missed": _percent(hit[missed]),
        }
    return found


def _percent(shares: NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    return float(100 * shares.mean()) if len(shares) else None


def readout_oracle(
    questions: Mapping[str, Vectors], paragraphs: Mapping[str, Vectors], data: XquadSet
) -> dict[str, dict[str, float]]:
    """Score linear fixes that were fitted on the other half of the articles.

    ``demean`` and the two maps to English, ``procrustes`` and ``ridge``, need the language of each
    text. ``project``, which removes all L - 1 directions between the means, does not.

    Returns:
        By fix, in percent: R@1 of ``different`` languages and ``map`` of the mixed pool, each the
        mean of both halves.
    """
    articles = np.unique(data.articles)
    halves = [np.isin(data.articles, articles[part::2]) for part in (0, 1)]
    scores: dict[str, list[dict[str, float]]] = {}
    for fit, held in (halves, halves[::-1]):
        fit_questions, held_questions = fit[data.answers], held[data.answers]
        fixes = _fitted(
            {name: each[fit_questions] for name, each in questions.items()},
            {name: each[fit] for name, each in paragraphs.items()},
        )
        answers = np.cumsum(held)[data.answers[held_questions]] - 1
        for name, fix in fixes.items():
            q = {
                language: fix(language, each[held_questions], "query")
                for language, each in questions.items()
            }
            p = {
                language: fix(language, each[held], "document")
                for language, each in paragraphs.items()
            }
            matrix = retrieval.retrieval_matrix(q, p, answers).measures("r1")
            pool, _ = retrieval.mixed_pool(q, p, answers)
            scores.setdefault(name, []).append(
                {"different": matrix["different"].value, "map": pool["map"].value}
            )
    return {
        name: {key: float(np.mean([each[key] for each in both])) for key in both[0]}
        for name, both in scores.items()
    }


def _fitted(questions: dict[str, Vectors], paragraphs: dict[str, Vectors]) -> dict[str, Fix]:
    sides: dict[Role, dict[str, Vectors]] = {"query": questions, "document": paragraphs}
    means = {
        role: {name: each.mean(axis=0) for name, each in side.items()}
        for role, side in sides.items()
    }
    overall = {role: np.mean(list(each.values()), axis=0) for role, each in means.items()}
    basis = language_basis(
        [
            LanguageMeans("fit", role, tuple(each), np.stack(list(each.values())))
            for role, each in means.items()
        ],
        len(questions) - 1,
    )

    unit = metrics.unit_rows

    def both(language: str) -> Vectors:
        # Questions and paragraphs are row-aligned over the languages, so that both fit the map.
        return np.concatenate([questions[language], paragraphs[language]])

    rotations = {name: orthogonal_procrustes(both(name), both("en"))[0] for name in questions}
    ridges = {
        name: Ridge(alpha=1.0).fit(both(name), both("en")) for name in questions if name != "en"
    }
    return {
        "raw": lambda language, vectors, role: vectors,
        "demean": lambda language, vectors, role: unit(
            vectors - means[role][language] + overall[role]
        ),
        "project": lambda language, vectors, role: project_out(vectors, basis),
        "procrustes": lambda language, vectors, role: unit(vectors @ rotations[language]),
        "ridge": lambda language, vectors, role: (
            vectors if language == "en" else unit(ridges[language].predict(vectors))
        ),
    }


def needle_grid(
    embedder: EmbedFunction,
    data: XquadSet,
    languages: Sequence[str],
    *,
    distractors: int = 4,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Find documents with the answer's sentence among sentences of another language.

    It is the multilingual needle in a haystack (arXiv 2408.10151), for a retriever. The needle of a
    question is the sentence with its answer in one language. It is put at the start, the middle or
    the end of ``distractors`` sentences of another article in another language. The pool holds one
    such document for each question.

    Args:
        embedder: The analysed model.
        data: Questions, paragraphs and answers.
        languages: Languages of questions, needles and distractors. Each triple is scored at three
            positions.
        distractors: Number of sentences around the needle.
        seed: Seed of the choice of distractors.

    Returns:
        Rows of ``question``, ``needle``, ``distractor``, ``position`` and ``r1`` in percent. The
        position ``alone`` is the needle without distractors, the upper limit.
    """
    rng = np.random.default_rng(seed)
    # One question for each paragraph: two needles of one sentence would be one document.
    chosen = [
        int(np.flatnonzero(data.answers == paragraph)[0]) for paragraph in np.unique(data.answers)
    ]
    others = [
        int(rng.choice(np.flatnonzero(data.articles != data.articles[data.answers[question]])))
        for question in chosen
    ]
    rows: list[dict[str, object]] = []
    asked = {
        a: embedder([data.questions[a].texts[question] for question in chosen], "query")
        for a in languages
    }

    def add(texts: list[str], needle: str, distractor: str, position: str) -> None:
        documents = embedder(texts, "document")
        for a in languages:
            hits = (asked[a] @ documents.T).argmax(axis=1) == np.arange(len(chosen))
            rows.append(
                {
                    "question": a,
                    "needle": needle,
                    "distractor": distractor,
                    "position": position,
                    "r1": float(100 * hits.mean()),
                }
            )

    hidden = {c: {_needle(data, c, question) for question in chosen} for c in languages}
    for b in languages:
        needles = [_needle(data, b, question) for question in chosen]
        add(needles, b, "", "alone")
        for c in languages:
            hay = [
                # Another question's needle would be a second right answer.
                [
                    each
                    for each in sentences(data.paragraphs[c].texts[other])
                    if each not in hidden[c]
                ]
                for other in others
            ]
            for position, share in POSITIONS.items():
                texts = []
                for needle, whole in zip(needles, hay, strict=True):
                    straw = whole[:distractors]
                    at = round(share * len(straw))
                    texts.append(" ".join([*straw[:at], needle, *straw[at:]]))
                add(texts, b, c, position)
    return rows


def _needle(data: XquadSet, language: str, question: int) -> str:
    """Return the sentence with the answer, or the first sentence if none holds the whole answer."""
    parts = sentences(data.paragraphs[language].texts[data.answers[question]])
    answer = data.answer_texts[language][question]
    return next((part for part in parts if answer and answer in part), parts[0])
