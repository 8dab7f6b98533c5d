"""Run MTEB (arXiv 2210.07316) on a model, by default on the paper's 123 datasets.

mteb itself downloads the data from the hub. The datasets are those of arXiv 2501.00874, table 1.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import mteb
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from lusifer_evaluation.model_sources import named_source, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mteb.abstasks import AbsTask

    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["PAPER_TASKS", "MtebEncoder", "available_paper_tasks", "paper_benchmark", "run_mteb"]

PAPER_TASKS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("paper_tasks.json").read_text(encoding="utf-8")
)
"""Names in mteb of the datasets of each language in Table 1 of arXiv 2501.00874.

The paper counts 123; its code lists these 124 names.
"""


class MtebEncoder(AbsEncoder):  # type: ignore[misc]  # mteb has no types
    """Give mteb an embedder: queries get the query prompt, documents the document prompt.

    Texts without a role, as in classification, clustering and STS, get the query prompt, as in our
    own tasks.

    Args:
        model_name: ``lusifer/NAME``. :func:`open_source` opens the name, when mteb loads a model.
        revision: Passed by mteb and not used, because a source has its own revision.
        embedder: An opened embedder.
        **options: Other arguments of mteb, such as a device; not used.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        embedder: EmbedFunction | None = None,
        **options: object,
    ) -> None:
        self.embedder = embedder or open_source(model_name.removeprefix("lusifer/"))
        self.mteb_model_meta = model_meta(model_name)

    def encode(
        self,
        inputs: Iterable[Mapping[str, list[str]]],
        *,
        task_metadata: object,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **options: object,
    ) -> Vectors:
        """Embed the batches of a DataLoader: unit vectors ``(N, D)`` in their order."""
        role: Role = "document" if prompt_type == PromptType.document else "query"
        texts = list(chain.from_iterable(batch["text"] for batch in inputs))
        return self.embedder(texts, role)


def model_meta(name: str) -> ModelMeta:
    """Return the description of a model that mteb writes beside its results."""
    return ModelMeta(
        loader=MtebEncoder,
        name=name,
        revision="local",
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=None,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name="cosine",
        use_instructions=True,
        training_datasets=None,
    )


def available_paper_tasks() -> dict[str, list[str]]:
    """Return ``PAPER_TASKS`` without the few names that the installed mteb doesn't know."""
    known = {task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    return {
        language: [name for name in names if name in known]
        for language, names in PAPER_TASKS.items()
    }


def paper_benchmark() -> mteb.Benchmark:
    """Return the paper's datasets, each in the paper's languages, as a benchmark of mteb."""
    languages: dict[str, list[str]] = {}
    for language, names in available_paper_tasks().items():
        for name in names:
            languages.setdefault(name, []).append(language)
    tasks = [mteb.get_task(name, languages=of) for name, of in languages.items()]
    return mteb.Benchmark(
        name="LUSIFER",
        tasks=tasks,
        description="The 14 languages of arXiv 2501.00874, Table 1.",
        reference="https://arxiv.org/abs/2501.00874",
    )


def run_mteb(source: str, tasks: list[AbsTask], output: Path) -> dict[str, float | None]:
    """Run tasks; results that are in the folder are not computed again.

    Args:
        source: Source for :func:`open_source`, or ``NAME=SOURCE``.
        tasks: Tasks of mteb.
        output: Folder of mteb's result files.

    Returns:
        Main score by task, in percent; None if mteb has no score.
    """
    name, opened = named_source(source)
    encoder = MtebEncoder(
        f"lusifer/{name.strip('/').replace('/', '-')}", embedder=open_source(opened)
    )
    results = mteb.evaluate(encoder, tasks, cache=mteb.ResultCache(output))
    scores = {each.task_name: 100 * float(each.get_score()) for each in results.task_results}
    return {name: score if math.isfinite(score) else None for name, score in scores.items()}
