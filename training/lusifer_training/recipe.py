"""A training recipe: one YAML file with the model, both stages and their data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from lusifer_training.config import Frozen, ModelConfig, validated
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AlignRecipe", "DatasetRecipe", "FinetuneRecipe", "LoopRecipe", "Recipe", "load_recipe"]


class DatasetRecipe(Frozen):
    """One English dataset: a JSON-lines file, or a Hugging Face dataset by name."""

    file: str | None = None
    """Path below the data folder, absolute, or, with ``./``, beside the recipe; ``python -m
    lusifer.demo.debian`` makes ``debian.jsonl``."""
    hub: str | None = None
    """Name for ``datasets.load_dataset``, such as ``ORGANISATION/NAME``, or a folder."""
    subset: str | None = None
    """The hub dataset's configuration."""
    revision: str | None = None
    """The hub dataset's commit."""
    split: str = "train"
    columns: dict[str, str] = Field(default_factory=dict)
    """Their column by our field, such as ``{document: positive, negatives: negative}``."""
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
    """Where it is used; plain ``text`` has no pairs and serves stage 1 only."""
    weight: float = Field(1.0, gt=0)
    """Share of the batches, relative to the other sets."""
    maximum_examples: int = Field(50_000, gt=0)
    symmetric: bool = False
    """Both sides are of one kind: the query prompt on both."""
    own_negatives_only: bool = False
    """In-example mode: others of the batch may share the label, so contrast with the own negatives
    only."""
    query_prompt: str | None = None
    """Instead of the model's prompt, as an instruction of this set."""
    document_prompt: str | None = None

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
    """What both stages' loops share."""

    accumulation: int = Field(1, gt=0)
    """Batches per optimiser step; negatives come from one batch, so prefer the gradient cache in
    stage 2."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Of the steps, before the cosine falls to a tenth."""
    weight_decay: float = Field(0.01, ge=0)
    save_every: int = Field(20, gt=0)
    """Steps between states: what a kill can cost."""
    keep_states: int = Field(2, gt=0)
    """Newest states kept."""
    probe_every: int | None = Field(None, gt=0)
    """Steps between translation retrieval scores by language; None: never."""
    probe_pairs: int = Field(50, gt=1)
    """Of each language."""


class AlignRecipe(Frozen):
    """Stage 1: the connector learns to speak the LLM's language."""

    steps: int = Field(gt=0)
    batch_texts: int = Field(gt=0)
    batch_tokens: int | None = Field(None, gt=0)
    """Of the encoder, padding not counted: a batch ends before ``batch_texts`` where its texts are
    long."""
    maximum_tokens: int = Field(64, gt=4)
    learning_rate: float = Field(gt=0)
    train_encoder: bool = False
    """Train the encoder's LoRA too, as the paper does; costs its backward pass."""
    objective: Literal["reading", "reconstruction"] = "reading"
    """``reading``: the LLM's own reading of the text is the teacher, no LM head needed.
    ``reconstruction``: the paper's, tokens through the LM head; needs all of the LLM's layers."""
    mask_share: float = Field(0.5, ge=0, lt=1)
    """Of the encoder's input tokens masked in reconstruction (the paper's k)."""
    completion_share: float = Field(0.5, ge=0, le=1)
    """Of the pairs whose document is completed from the query, instead of a text reconstructed."""


class FinetuneRecipe(Frozen):
    """Stage 2: contrastive representation finetuning."""

    steps: int = Field(gt=0)
    batch_pairs: int = Field(gt=1)
    batch_tokens: int | None = Field(None, gt=0)
    """Queries, documents and negatives, padding not counted: a batch ends before ``batch_pairs``
    where its pairs are long."""
    maximum_query_tokens: int = Field(48, gt=4)
    maximum_document_tokens: int = Field(128, gt=4)
    learning_rate: float = Field(gt=0)
    """Of LoRA layers."""
    new_learning_rate: float = Field(gt=0)
    """Of connector, head and layer mix, which start untrained."""
    temperature: float = Field(0.02, gt=0)
    order_temperature: float = Field(0.05, gt=0)
    """Of the cosines of scored pairs, which are put in the order of their scores."""
    distillation_weight: float = Field(1.0, ge=0)
    """Weight of keeping the teacher's English similarities."""
    teacher: str | None = None
    """Whose similarities are kept: the folder of a checkpoint, or JSON lines of ``text`` and
    ``vector``, from any model. None: the raw encoder. With ``./``, beside the recipe."""
    distillation_temperature: float = Field(0.02, gt=0)
    maximum_negatives: int = Field(7, ge=0)
    """Hard negatives used of each pair."""
    false_negative_margin: float | None = Field(None, gt=0)
    """Mask in-batch documents that the teacher finds as near to a query as its own, up to this
    cosine."""
    matryoshka_dimensions: tuple[int, ...] = ()
    """Train these prefixes of the vector too (arXiv 2205.13147), each a search vector by itself."""
    gradient_cache: bool = False
    """Keep no activations: each group of texts is run again in the backward pass (GradCache, arXiv
    2101.06983), so that the memory of a batch is that of one group, whatever the number of
    pairs."""
    group_tokens: int = Field(2048, gt=0)
    """Tokens run at once, padding included."""


class Recipe(Frozen):
    """Everything a training run needs."""

    model: ModelConfig
    seed: int = 0
    datasets: dict[str, DatasetRecipe] = Field(min_length=1)
    loop: LoopRecipe = LoopRecipe()
    align: AlignRecipe | None = None
    finetune: FinetuneRecipe
    interpolation: float = Field(1.0, gt=0, le=1)
    """Share of what training changed that is kept; the rest stays the raw encoder (WiSE-FT,
    2109.01903)."""
    head_interpolation: float | None = Field(None, gt=0, le=1)
    """The same for what the LLM adds to the encoder's vector; None: as ``interpolation``."""

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
        """Of what training changed, in the encoder and in the head, that is kept."""
        return self.interpolation, self.head_interpolation or self.interpolation


class _UniqueKeys(yaml.SafeLoader):
    """A key that stands twice is an error; YAML's own readers take the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        # What is no mapping, or has lists for keys, YAML itself refuses.
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file isn't YAML, or a key is unknown, wrong or there twice.
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
