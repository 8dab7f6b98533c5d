"""Where languages meet inside a model: alignment, retrieval and language, layer by layer.

Sites are the encoder's embeddings and layers, the connector, the LLM's layers, the pooled LLM
state, the head's output with the residual path, and the served vector. Measured on parallel
sentences at every site, after masked mean pooling:

* ``mexa``: share of sentences whose translation is the strict best both ways (MEXA, arXiv
  2410.05873), mean over pairs.
* ``r1``: translation first among all sentences of the other language.
* ``r1_mixed``: translation first among the sentences of all other languages and the own language's
  other sentences.
* ``language``: accuracy of a linear probe for the language, cross-validated by sentence.
* ``random_cosine`` and ``rank``: collapse guards. MEXA can't see that all vectors became alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint
from lusifer_training.language_subspace import project_out
from lusifer_training.model.pooling import mean_pool
from lusifer_training.token_rows import pad, tokenize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from lusifer_evaluation.tasks import XquadSet

__all__ = [
    "Phases",
    "SiteScores",
    "meeting_layer",
    "parallel_questions",
    "phase_scores",
    "site_states",
]

REPLICATES = 200
MEETING_SHARE = 0.9
"""A language has met English where MEXA reaches this share of its best."""


@dataclass(frozen=True, slots=True)
class SiteScores:
    """Of one site, in 0..1 but for ``rank``, which counts dimensions."""

    site: str
    mexa: float
    r1: float
    r1_mixed: float
    language: float
    random_cosine: float
    rank: float


@dataclass(frozen=True, slots=True)
class Phases:
    """Of a model.

    Attributes:
        sites: In the order of the model.
        mexa_with_english: ``(S, L - 1)`` by site and language other than English.
        meeting: First site where a language has met English, as an index into ``sites``, by
            language.
        meeting_spread: Standard deviation of that index over bootstrap replicates of the sentences,
            by
        language.
    """

    sites: list[SiteScores]
    mexa_with_english: np.ndarray
    meeting: dict[str, int]
    meeting_spread: dict[str, float]


def parallel_questions(data: XquadSet, count: int) -> dict[str, list[str]]:
    """Questions of XQuAD by language; one of each paragraph first, since those of one paragraph are alike."""
    order = sorted(
        range(len(data.answers)), key=lambda n: (sum(data.answers[:n] == data.answers[n]), n)
    )
    return {name: [each.texts[n] for n in order[:count]] for name, each in data.questions.items()}


def site_states(
    folder: Path, texts: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, np.ndarray]]:
    """Pooled states of a checkpoint at every site, by site and language ``(N, H)``.

    Args:
        folder: The checkpoint.
        texts: By language; embedded with the query prompt.
    """
    model = load_checkpoint(folder)
    model.merge_lora()
    projected = bool(model.config.language_rank)
    model.config = model.config.model_copy(update={"language_rank": 0})
    tokenizer = load_tokenizer(model.config.tokenizer)
    caught: dict[str, Tensor] = {}

    def catch(site: str, *, skip: int = 0) -> object:
        def hook(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            states = output[0] if isinstance(output, tuple) else output
            caught[site] = states[:, skip:]

        return hook

    backbone = model.encoder.backbone
    handles = [backbone.embeddings.register_forward_hook(catch("encoder 0"))]
    handles += [
        layer.register_forward_hook(catch(f"encoder {number}"))
        for number, layer in enumerate(backbone.encoder.layer, 1)
    ]
    if model.llm is not None:
        handles.append(model.connector.register_forward_hook(catch("connector")))
        # BOS stands first in the LLM.
        handles += [
            layer.register_forward_hook(catch(f"llm {number}", skip=1))
            for number, layer in enumerate(model.llm.backbone.layers, 1)
        ]
        handles.append(model.llm.register_forward_hook(catch("llm out")))
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    try:
        with torch.inference_mode():
            for language, each in texts.items():
                prompted = [model.config.query_prompt + text for text in each]
                rows = tokenize(tokenizer, prompted, model.config.maximum_tokens)
                for start in range(0, len(rows), 32):
                    ids, mask = pad(rows[start : start + 32], model.pad_token_id)
                    output = model(ids, mask)
                    states = {site: mean_pool(value, mask) for site, value in caught.items()}
                    for site, value in {**states, "output": output}.items():
                        found.setdefault(site, {}).setdefault(language, []).append(value.numpy())
    finally:
        for handle in handles:
            handle.remove()
    joined = {
        site: {language: np.concatenate(parts) for language, parts in each.items()}
        for site, each in found.items()
    }
    if projected:
        basis = model.language_basis.numpy()
        joined["projected"] = {
            language: project_out(each, basis) for language, each in joined["output"].items()
        }
    return joined


def phase_scores(states: Mapping[str, Mapping[str, np.ndarray]], *, seed: int = 0) -> Phases:
    """Score every site.

    Args:
        states: ``(N, H)`` by site and language, row n the same sentence in all languages; English
            among them.
        seed: Of the bootstrap.
    """
    languages = list(next(iter(states.values())))
    others = [language for language in languages if language != "en"]
    count = len(states[next(iter(states))]["en"])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, count, count) for _ in range(REPLICATES)]
    sites, with_english, replicated = [], [], []
    for site, by_language in states.items():
        unit = {
            language: each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
            for language, each in by_language.items()
        }
        sites.append(_site_scores(site, unit))
        hits = np.stack([_mutual(unit[language], unit["en"]) for language in others])
        with_english.append(hits.mean(axis=1))
        replicated.append(np.stack([hits[:, drawn].mean(axis=1) for drawn in draws]))
    curves = np.stack(with_english)
    spread = np.stack(replicated, axis=1)
    meeting = {language: meeting_layer(curves[:, n]) for n, language in enumerate(others)}
    meeting_spread = {
        language: float(
            np.std([meeting_layer(spread[replicate, :, n]) for replicate in range(REPLICATES)])
        )
        for n, language in enumerate(others)
    }
    return Phases(sites, curves, meeting, meeting_spread)


def meeting_layer(curve: np.ndarray) -> int:
    """The first site whose alignment ``(S,)`` reaches nine tenths of the best."""
    return int(np.argmax(curve >= MEETING_SHARE * curve.max()))


def _site_scores(site: str, unit: dict[str, np.ndarray]) -> SiteScores:
    languages = list(unit)
    count = len(unit[languages[0]])
    mexa, r1, r1_mixed = [], [], []
    everything = np.concatenate([unit[language] for language in languages])
    for i, a in enumerate(languages):
        # The sentence itself is no find.
        scores = unit[a] @ everything.T
        scores[np.arange(count), i * count + np.arange(count)] = -np.inf
        r1_mixed.append((scores.argmax(axis=1) % count == np.arange(count)).mean())
        for b in languages[i + 1 :]:
            pair = unit[a] @ unit[b].T
            mexa.append(_mutual(unit[a], unit[b]).mean())
            rows = np.arange(count)
            r1.append(
                ((pair.argmax(axis=1) == rows).mean() + (pair.argmax(axis=0) == rows).mean()) / 2
            )
    labels = np.repeat(languages, count)
    groups = np.tile(np.arange(count), len(languages))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    language = cross_val_score(probe, everything, labels, groups=groups, cv=GroupKFold(3)).mean()
    rng = np.random.default_rng(0)
    one, two = rng.permutation(len(everything))[: 2 * (len(everything) // 2)].reshape(2, -1)
    values = np.linalg.svd(everything - everything.mean(axis=0), compute_uv=False) ** 2
    shares = values[values > 0] / values.sum()
    return SiteScores(
        site=site,
        mexa=float(np.mean(mexa)),
        r1=float(np.mean(r1)),
        r1_mixed=float(np.mean(r1_mixed)),
        language=float(language),
        random_cosine=float((everything[one] * everything[two]).sum(axis=1).mean()),
        # exp of the entropy of the spectrum.
        rank=float(np.exp(-(shares * np.log(shares)).sum())),
    )


def _mutual(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of each sentence, whether its translation is the strict maximum of row and column ``(N,)``."""
    scores = ours @ theirs.T
    own = scores.diagonal().copy()
    np.fill_diagonal(scores, -np.inf)
    return (own > scores.max(axis=1)) & (own > scores.max(axis=0))
