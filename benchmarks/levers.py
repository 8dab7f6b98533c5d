"""Gain of the LLM's reading over the encoder, measured with almost no compute: frozen parts, trained heads.

::

    python benchmarks/levers.py --debian debian.jsonl

Every text is read once through each of two connectors, the trained one and one that maps the
encoder's states orthogonally: the encoder's mean state, what comes out of the connector, and
the LLM's mean state after 1, 2, 4 and 8 layers are kept on disk. On them linear heads are trained,
in seconds, with the objective and the English data of the default recipe, and scored on a subset of
the evaluation sets. A head on the encoder's own state is what the LLM has to beat: it costs
nothing. Three seeds each, with and without the language subspace projected out. A table on standard
output; minutes once the states are kept."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from lusifer_evaluation.table import Scores, evaluate
from lusifer_evaluation.tasks import Size
from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint
from lusifer_training.config import default_checkpoint, read_config
from lusifer_training.data.batches import PairSampler
from lusifer_training.geometry import GeometryEmbedder, without_languages
from lusifer_training.language_subspace import language_basis, language_means
from lusifer_training.model.pooling import mean_pool
from lusifer_training.objectives.contrastive import contrastive_loss
from lusifer_training.objectives.distillation import similarity_distillation
from lusifer_training.token_rows import run_rows, tokenize
from lusifer_training.trainer.cost_estimate import forward_flops_per_token
from lusifer_training.vector_cache import CachedEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.ablate import MACRO, RANK, short_texts, turn
from benchmarks.report import add_data_options, small_recipe

SIZE = Size(xquad=24, tatoeba=40, stsb=60, train=250, test=40)
TASKS = ("xquad", "tatoeba", "stsb", "sib200")
ENGLISH = ("xquad.r1.en", "stsb.en")
DEPTHS = (0, 1, 2, 4, 8)
"""LLM layers read; 0 is the connector's output."""
PAIRS_PER_DATASET = 300
STEPS = 300
BATCH_PAIRS = 128
LONGEST_TOKENS = 512
ALIKE = 4.0
"""Score, of 5, from which on a scored pair is a query and its document."""
ENCODER = "encoder"


class States:
    """Reads texts with the frozen model: mean states of every place side by side, ``(N, P)``.

    Args:
        checkpoint: Of the model.
        turned: Replace its connector by one that maps orthogonally.
    """

    def __init__(self, checkpoint: Path, *, turned: bool) -> None:
        self.config = read_config(checkpoint)
        digest = hashlib.sha256((checkpoint / "adapter.safetensors").read_bytes()).hexdigest()
        self.identity = f"states:{digest}:{DEPTHS}{':turned' * turned}"
        self.model = load_checkpoint(checkpoint)
        self.model.merge_lora()
        if turned:
            torch.manual_seed(0)
            self.model.connector.gain.data.fill_(self.model.llm.embedding_rms)
            turn(self.model.connector)
        self.tokenizer = load_tokenizer(self.config.tokenizer)
        encoder, llm = self.model.encoder.hidden_size, self.model.llm.hidden_size
        bounds = np.cumsum([0, encoder, *[llm] * len(DEPTHS)])
        self.places = {
            name: slice(int(low), int(high))
            for name, low, high in zip((ENCODER, *DEPTHS), bounds[:-1], bounds[1:], strict=True)
        }

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        prompt = self.config.role_prompts[role]
        rows = tokenize(self.tokenizer, [prompt + text for text in texts], LONGEST_TOKENS)
        return run_rows(self._read, rows, self.model.pad_token_id, budget_tokens=4096).numpy()

    def _read(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        model, llm = self.model, self.model.llm
        states, last = model.encoder(input_ids, attention_mask)
        inputs = model.connector(states)
        pooled = [mean_pool(last, attention_mask), mean_pool(inputs, attention_mask)]
        norm = llm.backbone.norm
        seen: dict[int, torch.Tensor] = {}
        hooks = [
            layer.register_forward_hook(
                lambda _, __, output, at=number: seen.__setitem__(
                    at, output[0] if isinstance(output, tuple) else output
                )
            )
            for number, layer in enumerate(llm.backbone.layers, start=1)
        ]
        llm(inputs, attention_mask)
        for hook in hooks:
            hook.remove()
        # Without BOS, and normalised as the last kept layer is.
        pooled += [mean_pool(norm(seen[depth])[:, 1:], attention_mask) for depth in DEPTHS[1:]]
        return torch.cat(pooled, dim=1)


class Reading:
    """Unit vectors ``(N, D)`` from kept states through a function."""

    def __init__(
        self, states: CachedEmbedder, identity: str, vectors: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self.states, self.identity, self._vectors = states, identity, vectors

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        return self._vectors(torch.from_numpy(self.states(list(texts), role))).numpy()


def trained_head(
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]],
    weights: list[float],
    encoder: slice,
    place: slice,
    *,
    residual: bool,
    seed: int,
    distillation_weight: float,
    temperature: float,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Train a linear head from a place's states, with stage 2's objective.

    Args:
        pairs: Return the states ``(N, P)`` of queries and documents, by dataset.
        weights: Shares of the datasets.
        encoder: Where the encoder's state stands.
        place: Where the head reads.
        residual: Add the encoder's own vector to the head's.
        seed: Of batches and, without the residual path, of the head.
        distillation_weight: Of keeping the raw encoder's similarities.
        temperature: Of both losses.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    every = torch.cat([torch.cat(each) for each in pairs.values()])[:, place]
    centre, scale = every.mean(dim=0), every.std()
    head = torch.nn.Linear(place.stop - place.start, encoder.stop - encoder.start)
    if residual:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)

    def vectors(states: torch.Tensor) -> torch.Tensor:
        vector = head((states[:, place] - centre) / scale)
        return normalize(
            vector + normalize(states[:, encoder], dim=-1) if residual else vector, dim=-1
        )

    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=STEPS, pct_start=0.1
    )
    names, shares = list(pairs), np.array(weights) / sum(weights)
    for _ in range(STEPS):
        queries, documents = pairs[names[rng.choice(len(names), p=shares)]]
        chosen = torch.from_numpy(
            rng.choice(len(queries), min(BATCH_PAIRS, len(queries)), replace=False)
        )
        states = torch.cat([queries[chosen], documents[chosen]])
        ours, raw = vectors(states), normalize(states[:, encoder], dim=-1)
        half = len(chosen)
        allowed = torch.ones(half, half, dtype=torch.bool)
        loss = contrastive_loss(ours[:half], ours[half:], allowed, temperature=temperature)
        loss += distillation_weight * similarity_distillation(ours, raw, temperature=temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_options(parser)
    parser.add_argument("--cache", type=Path, default=Path("runs/levers"), help="kept states")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    recipe = small_recipe(options.debian)
    # Others of a batch may share the label, and a head sees no difference.
    datasets = {n: each for n, each in recipe.datasets.items() if not each.own_negatives_only}
    sampler = PairSampler(recipe.model_copy(update={"datasets": datasets}), options.data)
    monolingual = short_texts()
    table = [
        "| vector | macro | Tatoeba | XQuAD, different | STS-B, different | SIB-200, other | XQuAD en "
        "| STS-B en |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    print("\n".join(table), flush=True)

    def compare(*, turned: bool) -> States:
        states = States(default_checkpoint(), turned=turned)
        kept = CachedEmbedder(options.cache, states)
        pairs = states_of(sampler, kept)
        weights = [datasets[name].weight for name in pairs]
        encoder = states.places[ENCODER]

        def rows(
            name: str, make: Callable[[int], Callable[[torch.Tensor], torch.Tensor]], seeds: int = 1
        ) -> None:
            plain, projected = [], []
            for seed in range(seeds):
                identity = f"{states.identity}:{name}:{seed}:{STEPS}:{PAIRS_PER_DATASET}"
                reading = Reading(kept, identity, make(seed))
                basis = language_basis(language_means(reading, monolingual), RANK)
                for target, embedder in (
                    (plain, reading),
                    (projected, GeometryEmbedder(reading, without_languages(basis))),
                ):
                    target.append(
                        evaluate(
                            embedder,
                            data_folder=options.data,
                            cache_folder=options.cache / "vectors",
                            size=SIZE,
                            tasks=TASKS,
                        )
                    )
            found = [line(name, plain), line(f"{name}, languages projected out", projected)]
            table.extend(found)
            print("\n".join(found), flush=True)

        def head(
            place: str | int, *, residual: bool = True
        ) -> Callable[[int], Callable[[torch.Tensor], torch.Tensor]]:
            return lambda seed: trained_head(
                pairs,
                weights,
                encoder,
                states.places[place],
                residual=residual,
                seed=seed,
                distillation_weight=recipe.finetune.distillation_weight,
                temperature=recipe.finetune.temperature,
            )

        if not turned:
            rows("encoder", lambda seed, at=encoder: lambda each: normalize(each[:, at], dim=-1))
            rows("encoder + head on the encoder", head(ENCODER), options.seeds)
        for depth in DEPTHS:
            place, name = states.places[depth], reads(depth, turned=turned)
            rows(name, lambda seed, at=place: lambda each: normalize(each[:, at], dim=-1))
            rows(f"encoder + head on {name}", head(depth), options.seeds)
        rows(
            f"head on {reads(DEPTHS[-1], turned=turned)} alone",
            head(DEPTHS[-1], residual=False),
            options.seeds,
        )
        return states

    compare(turned=False)
    states = compare(turned=True)
    flops = forward_flops_per_token(states.model) / 1e6
    text = "\n".join(
        [
            *table,
            "",
            f"Mean and spread of {options.seeds} seeds where a head is trained; {STEPS} steps of "
            f"{BATCH_PAIRS} pairs on {PAIRS_PER_DATASET} pairs a dataset, rank {RANK}. The whole model costs "
            f"{flops:.0f} MFLOP a token, {100 * encoder_share(states):.0f}% of it the encoder. Subset of the "
            f"evaluation sets ({SIZE.xquad} paragraphs, {SIZE.tatoeba} translations, {SIZE.stsb} scored "
            f"pairs and {SIZE.test} labelled texts a language): differences below a point are chance. "
            f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}. Command: `python benchmarks/levers.py`.",
        ]
    )
    print("\n" + text)


def states_of(
    sampler: PairSampler, kept: CachedEmbedder
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the states ``(N, P)`` of queries and documents, by dataset."""
    pairs = {}
    for name, scored in sampler.pairs.items():
        # Sentences that mean the same; of less alike ones there is no order to learn here.
        pool = [pair for pair in scored if pair.score is None or pair.score >= ALIKE]
        cut = [(pair.query[:150], pair.document[:350]) for pair in pool[:PAIRS_PER_DATASET]]
        symmetric = sampler.recipe.datasets[name].symmetric
        queries = kept([query for query, _ in cut], "query")
        documents = kept([document for _, document in cut], "query" if symmetric else "document")
        pairs[name] = torch.from_numpy(queries), torch.from_numpy(documents)
        print(f"states of {name}", file=sys.stderr, flush=True)
    return pairs


def reads(depth: int, *, turned: bool) -> str:
    place = f"the LLM after {depth} layer{'s' * (depth > 1)}" if depth else "the connector's output"
    return place + ", turned" * turned


def encoder_share(states: States) -> float:
    model = states.model
    whole, llm = forward_flops_per_token(model), model.llm
    model.llm = None
    try:
        return (
            forward_flops_per_token(model)
            - 2 * sum(p.numel() for p in model.connector.parameters())
        ) / whole
    finally:
        model.llm = llm


def line(name: str, seeds: list[Scores]) -> str:
    def cell(values: list[float]) -> str:
        spread = f" ±{statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    macro = [statistics.mean(each[measure] for measure in MACRO) for each in seeds]
    cells = [cell(macro)] + [
        cell([each[measure] for each in seeds]) for measure in (*MACRO, *ENGLISH)
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
