"""A training recipe: one YAML file with the model, both stages and their data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import yaml
from pydantic import Field, model_validator

from lusifer_training.config import Frozen, ModelConfig, validated
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

__all__ = ["AlignRecipe", "DatasetRecipe", "FinetuneRecipe", "LoopRecipe", "Recipe", "load_recipe"]


class DatasetRecipe(Frozen):
    """One English dataset: a JSON-lines file, or a Hugging Face dataset by name."""

    file: str | None = None
    """Path below the data folder, absolute path, or, with ``./``, path beside the recipe. ``python
    -m lusifer.demo.debian`` makes ``debian.jsonl``."""
    hub: str | None = None
    """Name for ``datasets.load_dataset``, such as ``ORGANISATION/NAME``, or a folder."""
    subset: str | None = None
    """Configuration of the hub dataset."""
    revision: str | None = None
    """Commit of the hub dataset."""
    split: str = "train"
    columns: dict[str, str] = Field(default_factory=dict)
    """Column of the dataset by our field, such as ``{document: positive}``."""
    schema_: Literal[
        "debian",
        "debian_sentences",
        "query_document",
        "document_sentences",
        "scored_pairs",
        "labelled",
        "text",
    ] = Field(alias="schema")
    stages: tuple[Literal["align", "finetune"], ...] = ("align", "finetune")
    """Stages that read the dataset; plain ``text`` has no pairs and is for stage 1 only."""
    weight: float = Field(1.0, gt=0)
    """Share of the batches, relative to the other datasets."""
    maximum_examples: int = Field(50_000, gt=0)
    symmetric: bool = False
    """Whether both sides are of one kind and get the query prompt."""
    own_negatives_only: bool = False
    """Whether to contrast with the own negatives only, because other pairs of the batch may have
    the same label."""
    query_prompt: str | None = None
    """Instruction of this dataset, which replaces the model's prompt."""
    document_prompt: str | None = None
    """Instruction of this dataset, which replaces the model's prompt."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.file) == bool(self.hub):
            raise ValueError("name either file or hub")
        if self.schema_ == "text" and self.stages != ("align",):
            raise ValueError("plain text has no pairs: set stages to [align]")
        return self

    @property
    def location(self) -> str:
        """File or hub name, for messages."""
        return self.file or f"hub:{self.hub}"


class LoopRecipe(Frozen):
    """Settings of the loop of both stages."""

    accumulation: int = Field(1, gt=0)
    """Batches per optimiser step. Negatives come from one batch, so prefer the gradient cache in
    stage 2."""
    clip_norm: float = Field(1.0, gt=0)
    """Maximum norm of the gradient."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps before the learning rate falls as a cosine to a tenth."""
    weight_decay: float = Field(0.01, ge=0)
    save_every: int = Field(20, gt=0)
    """Steps between states: a kill loses this number of steps at most."""
    keep_states: int = Field(2, gt=0)
    """Number of newest states kept."""
    probe_every: int | None = Field(None, gt=0)
    """Steps between validations by translation retrieval; None: never."""
    probe_pairs: int = Field(50, gt=1)
    """Translation pairs of each language in a validation."""


class AlignRecipe(Frozen):
    """Settings of stage 1, which aligns the connector's output with the LLM's input."""

    steps: int = Field(gt=0)
    batch_texts: int = Field(gt=0)
    batch_tokens: int | None = Field(None, gt=0)
    """Encoder tokens of a batch at most, without padding: with long texts a batch has fewer than
    ``batch_texts``."""
    maximum_tokens: int = Field(64, gt=4)
    learning_rate: float = Field(gt=0)
    train_encoder: bool = False
    """Whether to train the encoder's LoRA too, as the paper does; this costs its backward pass."""
    objective: Literal["reading", "reconstruction"] = "reading"
    """``reading``: the LLM's own states of the text are the target; no LM head is needed.
    ``reconstruction``: the paper's objective, tokens through the LM head; it needs all LLM
    layers."""
    mask_share: float = Field(0.5, ge=0, lt=1)
    """Share of the encoder's input tokens that reconstruction masks (the paper's k)."""
    completion_share: float = Field(0.5, ge=0, le=1)
    """Share of the pairs whose document is completed from the query, instead of reconstructed."""


class FinetuneRecipe(Frozen):
    """Settings of stage 2, contrastive representation finetuning."""

    steps: int = Field(gt=0)
    batch_pairs: int = Field(gt=1)
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens of queries, documents and negatives at most, without padding: with long pairs a batch
    has fewer than ``batch_pairs``."""
    maximum_query_tokens: int = Field(48, gt=4)
    maximum_document_tokens: int = Field(128, gt=4)
    learning_rate: float = Field(gt=0)
    """Peak learning rate of LoRA layers."""
    new_learning_rate: float = Field(gt=0)
    """Peak learning rate of connector, head and layer mix, which start untrained."""
    temperature: float = Field(0.02, gt=0)
    """Temperature of the contrastive softmax."""
    order_temperature: float = Field(0.05, gt=0)
    """Temperature of the cosines of scored pairs, whose order follows their scores."""
    distillation_weight: float = Field(1.0, ge=0)
    """Weight of the loss that keeps the teacher's English similarities."""
    teacher: str | None = None
    """Folder of a checkpoint, or JSON lines of ``text`` and ``vector`` from any model. None: the
    raw encoder. A path with ``./`` is beside the recipe."""
    distillation_temperature: float = Field(0.02, gt=0)
    maximum_negatives: int = Field(7, ge=0)
    """Number of hard negatives used of each pair at most."""
    false_negative_margin: float | None = Field(None, gt=0)
    """In-batch documents whose cosine to a query, in the teacher's vectors, is above that of the
    own document less this are masked."""
    matryoshka_dimensions: tuple[int, ...] = ()
    """Lengths of the prefixes of the vector that are trained too (arXiv 2205.13147)."""
    gradient_cache: bool = False
    """Whether to run each group of texts again in the backward pass and keep no activations
    (GradCache, arXiv 2101.06983). The memory of a batch is then that of one group."""
    group_tokens: int = Field(2048, gt=0)
    """Tokens run at once, padding included."""


class Recipe(Frozen):
    """Everything that a training run needs."""

    model: ModelConfig
    seed: int = 0
    datasets: dict[str, DatasetRecipe] = Field(min_length=1)
    loop: LoopRecipe = LoopRecipe()
    align: AlignRecipe | None = None
    finetune: FinetuneRecipe
    interpolation: float = Field(1.0, gt=0, le=1)
    """Kept share of the trained change; the rest stays the raw encoder (WiSE-FT, arXiv
    2109.01903)."""
    head_interpolation: float | None = Field(None, gt=0, le=1)
    """Kept share of the head, which adds the LLM to the encoder's vector; None: as
    ``interpolation``."""

    @model_validator(mode="after")
    def _has_teacher(self) -> Self:
        if self.align and not self.model.llm:
            raise ValueError("stage 1 (align) aligns with an LLM, and the model has none")
        if self.align and self.align.objective == "reconstruction" and self.model.llm_layers:
            raise ValueError(
                "reconstruction writes with the LM head, which reads the last of all LLM layers"
            )
        return self

    @model_validator(mode="after")
    def _has_something_to_go_back_to(self) -> Self:
        if min(self.shares) < 1 and not self.model.residual:
            raise ValueError(
                "interpolation goes back to the raw encoder, which needs the residual path"
            )
        return self

    @property
    def shares(self) -> tuple[float, float]:
        """Kept shares of the trained change in the encoder and in the head."""
        return self.interpolation, self.head_interpolation or self.interpolation


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Refuse a duplicate key; YAML's own readers take the last value silently."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen: set[str] = set()
        # YAML itself refuses other nodes, and lists as keys.
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} is there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep)
        return mapping


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file isn't YAML, or a key is unknown, wrong or duplicate.
    """
    try:
        values = _UniqueKeys(path.read_text(encoding="utf-8")).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {error}.", next_step="Check the file.") from error
    recipe = validated(Recipe, values or {}, where=str(path))

    def beside(file: str | None) -> str | None:
        return str((path.parent / file).resolve()) if file and file.startswith("./") else file

    datasets = {
        name: dataset.model_copy(update={"file": beside(dataset.file)})
        for name, dataset in recipe.datasets.items()
    }
    finetune = recipe.finetune.model_copy(update={"teacher": beside(recipe.finetune.teacher)})
    return recipe.model_copy(update={"datasets": datasets, "finetune": finetune})
