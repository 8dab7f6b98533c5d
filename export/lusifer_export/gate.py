"""The gate: an exported graph must answer what the PyTorch fp32 model answers, in every language and role.

A mean over all languages hides the one that broke, and a cosine alone does not say whether a search
still finds. So each language and role has its own cosine, and each language its own retrieval of
translations, before and after. What a text's vector may move between alone and in a batch is
measured too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lusifer_export.cases import ENGLISH, ROLES, Row, gate_rows
from lusifer_export.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from lusifer.engines.base import Engine
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
PROBED_CASES = ("short", "mixed scripts")
NEIGHBOURS = 16
"""Rows in a batch whose vectors are compared with those of the same rows alone."""


@dataclass(frozen=True)
class Bars:
    """What a precision must keep; cosines are to the PyTorch fp32 model."""

    mean: float
    """Least mean cosine of each language and role."""
    worst: float
    """Least cosine of any text, edge cases included."""
    batch: float
    """Most that any number of a vector may differ between alone and in a batch: the noise floor.
    Sums in another order move fp32 by 1e-7; where activations are rounded to half precision or
    int8, that can flip a rounding, which is worth two units of it, or 5e-5 as seen with int8. One
    scale for a whole batch would move them by 7e-3."""
    lost: int = 1
    """Most questions of a language that found their translation before and don't any more."""


BARS = {
    "fp32": Bars(mean=0.9999, worst=0.999, batch=1e-5),
    "bf16": Bars(mean=0.99, worst=0.95, batch=2**-7),
    "fp16": Bars(mean=0.999, worst=0.99, batch=2**-10),
    "int8": Bars(mean=0.98, worst=0.9, batch=1e-5),
    "int8-dynamic": Bars(mean=0.98, worst=0.9, batch=2**-10),
    "int4": Bars(mean=0.98, worst=0.9, batch=2**-10),
}


@dataclass(frozen=True)
class Reference:
    """What the PyTorch fp32 model answers on the gate's rows; computed once for all precisions."""

    rows: tuple[Row, ...]
    vectors: NDArray[np.float32]
    """``(N, D)``."""
    noise: float
    """Largest difference of any number of its own vectors between alone and in a batch."""
    pad_token_id: int


def reference_vectors(model: Lusifer, tokenizer: Tokenizer) -> Reference:
    """Embed the gate's rows with the model.

    Args:
        model: In fp32, LoRA merged.
        tokenizer: The encoder's.
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


def measure_gate(reference: Reference, engine: Engine) -> dict[str, Any]:
    """Compare an engine with the model it was exported from.

    Returns:
        The report: cosines (mean, 1st percentile, worst) over all rows, by role, by language, by
        language and role and by edge case; R@1 of translation retrieval by language, of the model
        and of the engine; how far a vector moves between alone and in a batch, of both.
    """
    rows = reference.rows
    vectors = _embed(rows, engine.run, reference.pad_token_id)
    cosines = (vectors * reference.vectors).sum(axis=1)

    def summary(wanted: Callable[[Row], bool]) -> dict[str, float]:
        return _summary(cosines[[wanted(row) for row in rows]])

    languages: dict[str, Any] = {}
    for name in dict.fromkeys(row.language for row in rows if row.language):
        languages[name] = {
            **summary(lambda row, name=name: row.language == name),
            "roles": {
                role: summary(
                    lambda row, name=name, role=role: (row.language, row.role) == (name, role)
                )
                for role in ROLES
            },
            "retrieval": _retrieval(rows, name, reference.vectors, vectors),
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
        "roles": {role: summary(lambda row, role=role: row.role == role) for role in ROLES},
        "cases": {
            case: summary(lambda row, case=case: row.case == case)
            for case in dict.fromkeys(row.case for row in rows if row.case)
        },
        "languages": languages,
    }


def probe_rows(
    reference: Reference,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """One translation of each language and two edge cases: ids and mask ``(N, T)``, vectors ``(N, D)``."""
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


def judge(report: dict[str, Any], precision: str) -> list[str]:
    """Reasons to refuse, broken languages first and the worst of them before others; empty if passed.

    NaN is a reason too.
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
                f"{language}: {retrieval['lost']} of {retrieval['questions']} translations are lost, R@1 "
                f"{retrieval['pytorch']:.3f} before and {retrieval['exported']:.3f} after"
            )
            reasons.append((scores["mean"], text))
    # A mean that is NaN sorts first.
    reasons.sort(key=lambda each: (each[0] == each[0], each[0]))
    singles = [
        f"{name}: the worst text has cosine {each['worst']:.6f}, below {bars.worst}"
        for name, each in (report["languages"] | report["cases"]).items()
        if not each["worst"] >= bars.worst
    ]
    if not report["alone_against_batch"] <= bars.batch:
        singles.append(
            f"all languages: a vector moves by {report['alone_against_batch']:.1e} with its neighbours in a "
            f"batch, the noise floor of {precision} is {bars.batch:.0e}"
        )
    return [text for _, text in reasons] + singles


def check_gate(reasons: Iterable[str], precision: str) -> None:
    """Fail if there are reasons.

    Raises:
        GateError: Naming the languages that failed and how.
    """
    listed = list(reasons)
    if not listed:
        return
    shown = "; ".join(listed[:3]) + (f"; and {len(listed) - 3} more" if len(listed) > 3 else "")
    raise GateError(
        f"The gate refuses {precision}. {shown}.",
        next_step="Export with --precision auto, which takes the smallest one that passes, or keep it for "
        "study with --keep-failed.",
    )


def _embed(
    rows: Sequence[Row],
    run: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]],
    pad_token_id: int,
) -> NDArray[np.float32]:
    """Vectors ``(N, D)`` in the order of the rows, in batches of like length."""
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
    run: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]],
    pad_token_id: int,
) -> float:
    """Largest difference of any number of a vector when its text is embedded among 15 neighbours.

    Neighbours are far apart in the list, so of several languages and of any length.
    """
    largest = 0.0
    stride = max(1, len(rows) // (3 * NEIGHBOURS))
    chosen = rows[::stride][: 3 * NEIGHBOURS]
    for start in range(0, len(chosen), NEIGHBOURS):
        batch = chosen[start : start + NEIGHBOURS]
        together = run(*_padded(batch, pad_token_id))
        alone = np.concatenate([run(*_padded([row], pad_token_id)) for row in batch])
        largest = max(largest, float(np.abs(together - alone).max()))
    return largest


def _retrieval(
    rows: Sequence[Row], language: str, before: NDArray[np.float32], after: NDArray[np.float32]
) -> dict[str, Any]:
    """R@1 between a language's questions and English documents, both ways, of two sets of vectors.

    English itself asks its own documents. ``lost`` counts questions that were right before and
    aren't after.
    """
    articles = {row.article for row in rows if row.language == language} - {None}
    if not articles:
        return {"questions": 0, "pytorch": 0.0, "exported": 0.0, "lost": 0}
    right = []
    for vectors in (before, after):
        hits = []
        for asking, answering in ((language, ENGLISH), (ENGLISH, language)):
            questions = _pick(rows, vectors, asking, "query")
            documents = _pick(rows, vectors, answering, "document")
            hits.append((questions @ documents.T).argmax(axis=1) == np.arange(len(questions)))
        right.append(np.concatenate(hits))
    return {
        "questions": len(right[0]),
        "pytorch": round(float(right[0].mean()), 4),
        "exported": round(float(right[1].mean()), 4),
        "lost": int((right[0] & ~right[1]).sum()),
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


def _summary(cosines: NDArray[np.float32]) -> dict[str, float]:
    return {
        "mean": round(float(cosines.mean()), 7),
        "percentile_1": round(float(np.percentile(cosines, 1)), 7),
        "worst": round(float(cosines.min()), 7),
    }
