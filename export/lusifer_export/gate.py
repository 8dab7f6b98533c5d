"""The quality gate: a graph must compute the vectors of the PyTorch fp32 model, in every language.

A mean over all languages hides a broken one, and a cosine alone does not show whether searches
still find. So each language and role has its own cosine. Each language has its own retrieval of
translations, before and after. The gate also measures how far a text's vector moves between alone
and in a batch, and whether one document comes first for many queries: a hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from lusifer.common.hubness import MAXIMUM_SHARE, allowed_queries, measure_hubness
from lusifer.common.iteration import chunked
from lusifer_export.cases import ENGLISH, ROLES, Row, gate_rows
from lusifer_export.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from lusifer.bundle.format import Precision
    from lusifer.engines.base import Engine
    from lusifer_export.report import HubScores, LanguageScores, Measurement, Retrieval, Summary
    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "BARS",
    "Bars",
    "Reference",
    "check_gate",
    "judge",
    "measure_gate",
    "probe_rows",
    "reference_vectors",
]

BATCH_TOKENS = 2048
HUB_QUERIES = 400
"""Number of queries from which a share above the maximum is a hub: of fewer, an ordinary document
may have it by chance. The gate has 590."""
LANGUAGE_QUERIES = 24
"""Number of queries of one language from which its hubs are compared with the model's own."""
LANGUAGE_SHARE = 2 * MAXIMUM_SHARE
"""Share of a language's queries that one document may be the first wrong hit of. The 30 documents
of a language are articles of one text: a fifth was measured where nothing is wrong."""
PROBED_CASES = ("short", "mixed scripts")
HITS = 10
NEIGHBOURS = 16
"""Number of rows in a batch whose vectors are compared with those of the same rows alone."""

_Run: TypeAlias = "Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]"


@dataclass(frozen=True)
class Bars:
    """Limits that a precision must keep; cosines are to the PyTorch fp32 model."""

    mean: float
    """Lowest mean cosine of each language and role."""
    worst: float
    """Lowest cosine of any text, edge cases included."""
    batch: float
    """Noise floor: largest difference of any number of a vector between alone and in a batch. Sums
    in another order move fp32 by 1e-7. Where activations are rounded to half precision or int8,
    this can flip a rounding, which is worth two units of it: 5e-5 was measured with int8. One scale
    for a whole batch would move them by 7e-3."""
    lost: int = 1
    """Largest number of queries of a language that found their translation before and do not after
    the export."""


BARS: dict[Precision, Bars] = {
    "fp32": Bars(mean=0.9999, worst=0.999, batch=1e-5),
    "bf16": Bars(mean=0.99, worst=0.95, batch=2**-7),
    "fp16": Bars(mean=0.999, worst=0.99, batch=2**-10),
    "int8": Bars(mean=0.98, worst=0.9, batch=1e-5),
    "int8-dynamic": Bars(mean=0.98, worst=0.9, batch=2**-10),
    "int4": Bars(mean=0.98, worst=0.9, batch=2**-10),
}


@dataclass(frozen=True)
class Reference:
    """Vectors of the PyTorch fp32 model for the gate's rows; computed once for all precisions."""

    rows: tuple[Row, ...]
    vectors: NDArray[np.float32]
    """Vectors ``(N, D)`` in the order of the rows."""
    noise: float
    """Largest difference of any number of these vectors between alone and in a batch."""
    pad_token_id: int


def reference_vectors(model: Lusifer, tokenizer: Tokenizer) -> Reference:
    """Embed the gate's rows with the model.

    Args:
        model: Model in fp32, with LoRA merged.
        tokenizer: Tokenizer of the encoder.
    """

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            vectors: NDArray[np.float32] = model(
                torch.from_numpy(ids), torch.from_numpy(mask)
            ).numpy()
            return vectors

    rows = gate_rows(tokenizer, model.config.role_prompts, model.config.maximum_tokens)
    vectors = _embed(rows, run, model.pad_token_id)
    return Reference(
        tuple(rows), vectors, _batch_noise(rows, run, model.pad_token_id), model.pad_token_id
    )


def measure_gate(reference: Reference, engine: Engine) -> Measurement:
    """Compare an engine with the model that its graph was exported from.

    Returns:
        Cosines (mean, 1st percentile, worst) over all rows, by role, by language, by language and
        role, and by edge case. For both the model and the engine: R@1 of translation retrieval by
        language, and how far a vector moves between alone and in a batch.
    """
    rows = reference.rows
    vectors = _embed(rows, engine.run, reference.pad_token_id)
    cosines = (vectors * reference.vectors).sum(axis=1)

    def summary(**wanted: str) -> Summary:
        """Compute the cosines of the rows that have these values."""
        chosen = [all(getattr(row, name) == wanted[name] for name in wanted) for row in rows]
        return _summary(cosines[chosen])

    languages: dict[str, LanguageScores] = {}
    for name in dict.fromkeys(row.language for row in rows if row.language):
        languages[name] = {
            **summary(language=name),
            "roles": {role: summary(language=name, role=role) for role in ROLES},
            "retrieval": _retrieval(rows, name, reference.vectors, vectors),
            "hubness": _hubness(rows, name, reference.vectors, vectors),
        }
    return {
        "texts": len(rows),
        "tokens": {
            "shortest": min(len(row.ids) for row in rows),
            "longest": max(len(row.ids) for row in rows),
        },
        **_summary(cosines),
        "alone_against_batch": _batch_noise(rows, engine.run, reference.pad_token_id),
        "alone_against_batch_pytorch": reference.noise,
        "roles": {role: summary(role=role) for role in ROLES},
        "cases": {
            case: summary(case=case) for case in dict.fromkeys(row.case for row in rows if row.case)
        },
        "languages": languages,
        "hubness": _hubness(rows, None, reference.vectors, vectors),
    }


def probe_rows(
    reference: Reference,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and mask ``(N, T)`` and vectors ``(N, D)`` of the bundle's probe.

    Its rows are one translation of each language and two edge cases.
    """
    chosen = {
        (row.language, row.case): index
        for index, row in enumerate(reference.rows)
        if row.article == 0
    }
    edges = {
        (None, row.case): index
        for index, row in enumerate(reference.rows)
        if row.case in PROBED_CASES
    }
    indices = [*chosen.values(), *edges.values()]
    ids, mask = _padded([reference.rows[index] for index in indices], reference.pad_token_id)
    return ids, mask, reference.vectors[indices]


def judge(report: Measurement, precision: Precision) -> list[str]:
    """Return the reasons to refuse a graph; none if it passes. NaN is a reason too.

    Broken languages come first, the worst of them before the others.
    """
    bars = BARS[precision]
    reasons: list[tuple[float, str]] = []
    for language, scores in report["languages"].items():
        for role, each in scores["roles"].items():
            if not each["mean"] >= bars.mean:
                text = f"{language} ({role}): mean cosine {each['mean']:.6f}, below {bars.mean}"
                reasons.append((each["mean"], text))
        retrieval = scores["retrieval"]
        if not retrieval["lost"] <= bars.lost:
            text = (
                f"{language}: {retrieval['lost']} of {retrieval['questions']} translations are "
                f"lost, R@1 {retrieval['pytorch']:.3f} before and {retrieval['exported']:.3f} after"
            )
            reasons.append((scores["mean"], text))
        hubs = scores["hubness"]
        allowed = _allowed(hubs, LANGUAGE_SHARE, LANGUAGE_QUERIES)
        # Of few queries, only a hub that the model itself does not have is one of the export's.
        if allowed is not None and hubs["pytorch"] * hubs["queries"] <= allowed + 0.5:
            reasons += [(scores["mean"], text) for text in _hub_failures(language, hubs, allowed)]
    # A mean of NaN sorts first.
    reasons.sort(key=lambda each: (each[0] == each[0], each[0]))
    singles = [
        f"{name}: the worst text has cosine {each['worst']:.6f}, below {bars.worst}"
        for name, each in chain(report["languages"].items(), report["cases"].items())
        if not each["worst"] >= bars.worst
    ]
    if not report["alone_against_batch"] <= bars.batch:
        singles.append(
            f"all languages: a vector moves by {report['alone_against_batch']:.1e} with its "
            f"neighbours in a batch, the noise floor of {precision} is {bars.batch:.0e}"
        )
    hubs = report["hubness"]
    allowed = _allowed(hubs, MAXIMUM_SHARE, HUB_QUERIES)
    return [text for _, text in reasons] + singles + _hub_failures("all languages", hubs, allowed)


def _allowed(scores: HubScores, maximum_share: float, fewest: int) -> int | None:
    """Return how many queries may have one first wrong hit; None if too few are there to judge."""
    if scores["queries"] < fewest:
        return None
    return allowed_queries(scores["queries"], scores["documents"], maximum_share)


def _hub_failures(name: str, scores: HubScores, allowed: int | None) -> list[str]:
    first = round(scores["exported"] * scores["queries"])
    if allowed is None or first <= allowed:
        return []
    return [
        f"{name}: one document is the first wrong hit of {first} of {scores['queries']} queries, "
        f"{round(scores['pytorch'] * scores['queries'])} before the export; at most {allowed} are "
        "allowed"
    ]


def check_gate(reasons: Iterable[str], precision: str) -> None:
    """Raise an error if there are reasons.

    Raises:
        GateError: There is a reason; the message shows the first three.
    """
    listed = list(reasons)
    if not listed:
        return
    shown = "; ".join(listed[:3]) + (f"; and {len(listed) - 3} more" if len(listed) > 3 else "")
    raise GateError(
        f"The quality gate failed for {precision}. {shown}.",
        next_step="Export with --precision auto, which takes the smallest one that passes, or keep "
        "it for study with --keep-failed.",
    )


def _embed(
    rows: Sequence[Row],
    run: _Run,
    pad_token_id: int,
) -> NDArray[np.float32]:
    """Compute vectors ``(N, D)`` in the order of the rows, in batches of like length."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    vectors: list[NDArray[np.float32] | None] = [None] * len(rows)
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end - start + 1) * len(rows[order[end]].ids) <= BATCH_TOKENS:
            end += 1
        chosen = order[start:end]
        for index, vector in zip(
            chosen, run(*_padded([rows[i] for i in chosen], pad_token_id)), strict=True
        ):
            vectors[index] = vector
        start = end
    return np.stack([vector for vector in vectors if vector is not None])


def _padded(rows: Sequence[Row], pad_token_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    width = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), width), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)], mask[index, : len(row.ids)] = row.ids, 1
    return ids, mask


def _batch_noise(
    rows: Sequence[Row],
    run: _Run,
    pad_token_id: int,
) -> float:
    """Return the largest difference of any number of a vector between alone and in a batch of 16.

    The rows of a batch are far apart in the list, so they have several languages and any length.
    """
    largest = 0.0
    stride = max(1, len(rows) // (3 * NEIGHBOURS))
    chosen = rows[::stride][: 3 * NEIGHBOURS]
    for batch in chunked(chosen, NEIGHBOURS):
        together = run(*_padded(batch, pad_token_id))
        alone = np.concatenate([run(*_padded([row], pad_token_id)) for row in batch])
        largest = max(largest, float(np.abs(together - alone).max()))
    return largest


def _retrieval(
    rows: Sequence[Row], language: str, before: NDArray[np.float32], after: NDArray[np.float32]
) -> Retrieval:
    """Return R@1 between a language's queries and English documents, both ways, before and after.

    English queries its own documents. ``lost`` counts the queries that were right before and are
    not after.
    """
    articles = {row.article for row in rows if row.language == language} - {None}
    if not articles:
        return {"questions": 0, "pytorch": 0.0, "exported": 0.0, "lost": 0}
    right = []
    for vectors in (before, after):
        hits = []
        for query_language, document_language in ((language, ENGLISH), (ENGLISH, language)):
            queries = _pick(rows, vectors, query_language, "query")
            documents = _pick(rows, vectors, document_language, "document")
            hits.append((queries @ documents.T).argmax(axis=1) == np.arange(len(queries)))
        right.append(np.concatenate(hits))
    return {
        "questions": len(right[0]),
        "pytorch": round(float(right[0].mean()), 4),
        "exported": round(float(right[1].mean()), 4),
        "lost": int((right[0] & ~right[1]).sum()),
    }


def _hubness(
    rows: Sequence[Row],
    language: str | None,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
) -> HubScores:
    """Return how often the queries of a language, or all, have the same first wrong hit.

    They search the documents of all languages but the translations of their own text.
    """
    queries = [
        index
        for index, row in enumerate(rows)
        if row.role == "query" and row.language and language in {None, row.language}
    ]
    documents = [index for index, row in enumerate(rows) if row.role == "document" and row.language]
    if not queries or not documents:
        return {"queries": 0, "documents": 0, "pytorch": 0.0, "exported": 0.0, "skew": 0.0}
    asked, found = ([rows[index].article for index in each] for each in (queries, documents))
    right = np.array([[a is not None and a == b for b in found] for a in asked])
    measured = []
    for vectors in (before, after):
        scores = np.where(right, -np.inf, vectors[queries] @ vectors[documents].T)
        hits = np.argsort(-scores, axis=1, kind="stable")[:, :HITS]
        measured.append(measure_hubness(hits, len(documents)))
    return {
        "queries": len(queries),
        "documents": len(documents),
        "pytorch": round(measured[0].first_share, 6),
        "exported": round(measured[1].first_share, 6),
        "skew": round(measured[1].skew, 2),
    }


def _pick(
    rows: Sequence[Row], vectors: NDArray[np.float32], language: str, role: str
) -> NDArray[np.float32]:
    found = [
        (row.article, index)
        for index, row in enumerate(rows)
        if row.article is not None and (row.language, row.role) == (language, role)
    ]
    return vectors[[index for _, index in sorted(found)]]


def _summary(cosines: NDArray[np.float32]) -> Summary:
    return {
        "mean": round(float(cosines.mean()), 7),
        "percentile_1": round(float(np.percentile(cosines, 1)), 7),
        "worst": round(float(cosines.min()), 7),
    }
