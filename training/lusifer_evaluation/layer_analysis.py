"""Measure alignment, retrieval and language at every layer of a model.

A site is a place where states are measured: the encoder's embeddings and layers, the connector, the
LLM's layers, the pooled LLM state, the head's output with the residual path, and the projected
vector. The measures are of parallel sentences, after masked mean pooling:

* ``mexa``: share of sentences whose translation is the strict best in both directions (MEXA, arXiv
  2410.05873), mean over pairs of languages.
* ``r1``: share of sentences whose translation is first among all sentences of the other language.
* ``r1_mixed``: share of sentences whose first hit is a translation, among the sentences of all
  other languages and the other sentences of the own language.
* ``language``: accuracy of a linear probe for the language, cross-validated by sentence.
* ``random_cosine`` and ``rank``: they show a collapse. MEXA stays high if all vectors are alike.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lusifer.common.iteration import chunked
from lusifer_evaluation.metrics import unit_rows
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import geometry_of, load_checkpoint
from lusifer_training.model.pooling import mean_pool
from lusifer_training.token_rows import pad, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from lusifer_evaluation.tasks import XquadSet
    from lusifer_training.embed_function import Vectors
    from lusifer_training.model.lusifer import Lusifer

    States: TypeAlias = Mapping[str, Mapping[str, Vectors]]
    Hook: TypeAlias = Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]

__all__ = [
    "LayerAnalysis",
    "SiteScores",
    "analyse_layers",
    "meeting_site",
    "parallel_questions",
    "site_states",
]

REPLICATES = 200
MEETING_SHARE = 0.9
"""Share of its best MEXA with English at which a language counts as aligned with English."""
BATCH_TEXTS = 32


@dataclass(frozen=True, slots=True)
class SiteScores:
    """Scores of one site, from 0 to 1 except for ``rank``, which is a number of dimensions."""

    site: str
    mexa: float
    r1: float
    r1_mixed: float
    language: float
    random_cosine: float
    rank: float


@dataclass(frozen=True, slots=True)
class LayerAnalysis:
    """Scores of all sites of a model.

    Attributes:
        sites: Scores in the order of the model.
        mexa_with_english: MEXA ``(S, L - 1)`` by site and language other than English.
        meeting: First site where a language is aligned with English, as an index into ``sites``, by
            language.
        meeting_spread: Standard deviation of that index over bootstrap replicates of the sentences,
            by language.
    """

    sites: list[SiteScores]
    mexa_with_english: NDArray[np.float64]
    meeting: dict[str, int]
    meeting_spread: dict[str, float]


def parallel_questions(data: XquadSet, count: int) -> dict[str, list[str]]:
    """Return the first questions of XQuAD by language, with one question of each paragraph first.

    The questions of one paragraph are similar.
    """
    order = sorted(
        range(len(data.answers)), key=lambda n: (sum(data.answers[:n] == data.answers[n]), n)
    )
    return {name: [each.texts[n] for n in order[:count]] for name, each in data.questions.items()}


def site_states(folder: Path, texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Vectors]]:
    """Return the pooled states of a checkpoint ``(N, H)`` by site and language.

    Args:
        folder: The checkpoint.
        texts: Texts by language; they are embedded with the query prompt.
    """
    model = load_checkpoint(folder)
    model.merge_lora()
    buffers = {"centre": model.centre, "language_basis": model.language_basis}
    geometry = geometry_of(model.config, buffers)
    model.config = model.config.model_copy(update={"language_rank": 0, "centre_share": 0.0})
    tokenizer = load_tokenizer(model.config.tokenizer)
    found: dict[str, dict[str, list[Vectors]]] = {}
    with _caught_states(model) as caught, torch.inference_mode():
        for language, each in texts.items():
            prompted = [model.config.query_prompt + text for text in each]
            for some in chunked(
                tokenize(tokenizer, prompted, model.config.maximum_tokens), BATCH_TEXTS
            ):
                ids, mask = pad(some, model.pad_token_id)
                output = model(ids, mask)
                states = {site: mean_pool(value, mask) for site, value in caught.items()}
                for site, value in {**states, "output": output}.items():
                    found.setdefault(site, {}).setdefault(language, []).append(value.numpy())
    joined = {
        site: {language: np.concatenate(parts) for language, parts in by_language.items()}
        for site, by_language in found.items()
    }
    if geometry:
        joined["projected"] = {
            language: geometry.apply(vectors) for language, vectors in joined["output"].items()
        }
    return joined


@contextmanager
def _caught_states(model: Lusifer) -> Iterator[dict[str, Tensor]]:
    """Collect the latest states ``(B, T, H)`` of each site within the block."""
    caught: dict[str, Tensor] = {}

    def catch(site: str, *, skip: int = 0) -> Hook:
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
        # The first position of the LLM is BOS.
        handles += [
            layer.register_forward_hook(catch(f"llm {number}", skip=1))
            for number, layer in enumerate(model.llm.backbone.layers, 1)
        ]
        handles.append(model.llm.register_forward_hook(catch("llm out")))
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def analyse_layers(states: States, *, seed: int = 0) -> LayerAnalysis:
    """Score every site.

    Args:
        states: Pooled states ``(N, H)`` by site and language. Row n is the same sentence in all
            languages, and English is one of them.
        seed: Seed of the bootstrap.
    """
    languages = list(next(iter(states.values())))
    others = [language for language in languages if language != "en"]
    count = len(states[next(iter(states))]["en"])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, count, count) for _ in range(REPLICATES)]
    sites, with_english, replicated = [], [], []
    for site, by_language in states.items():
        unit = {language: unit_rows(each) for language, each in by_language.items()}
        sites.append(_site_scores(site, unit))
        hits = np.stack([_mutual(unit[language], unit["en"]) for language in others])
        with_english.append(hits.mean(axis=1))
        replicated.append(np.stack([hits[:, drawn].mean(axis=1) for drawn in draws]))
    curves = np.stack(with_english)
    spread = np.stack(replicated, axis=1)
    meeting = {language: meeting_site(curves[:, n]) for n, language in enumerate(others)}
    meeting_spread = {
        language: float(
            np.std([meeting_site(spread[replicate, :, n]) for replicate in range(REPLICATES)])
        )
        for n, language in enumerate(others)
    }
    return LayerAnalysis(sites, curves, meeting, meeting_spread)


def meeting_site(curve: NDArray[np.float64]) -> int:
    """Return the first site whose alignment ``(S,)`` reaches nine tenths of the best."""
    return int(np.argmax(curve >= MEETING_SHARE * curve.max()))


def _site_scores(site: str, unit: dict[str, Vectors]) -> SiteScores:
    languages = list(unit)
    count = len(unit[languages[0]])
    mexa, r1, r1_mixed = [], [], []
    everything = np.concatenate([unit[language] for language in languages])
    for i, a in enumerate(languages):
        # The sentence itself is not a hit.
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
        # Effective rank: exp of the entropy of the spectrum (Roy and Vetterli, EUSIPCO 2007).
        rank=float(np.exp(-(shares * np.log(shares)).sum())),
    )


def _mutual(ours: Vectors, theirs: Vectors) -> NDArray[np.bool_]:
    """Mark the sentences whose translation is the strict maximum of row and column ``(N,)``."""
    scores = ours @ theirs.T
    own = scores.diagonal().copy()
    np.fill_diagonal(scores, -np.inf)
    best: NDArray[np.bool_] = (own > scores.max(axis=1)) & (own > scores.max(axis=0))
    return best
