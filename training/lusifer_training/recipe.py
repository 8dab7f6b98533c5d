"""A training recipe: one YAML file with the model, both stages and their data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import yaml
from pydantic import Field, model_validator

from lusifer_training.config import Frozen, ModelConfig, validated
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AlignRecipe", "DatasetRecipe", "FinetuneRecipe", "Recipe", "load_recipe"]


class DatasetRecipe(Frozen):
    """One English dataset."""

    file: str
    """Path below the data folder, or absolute; ``python -m lusifer.demo.debian`` makes ``debian.jsonl``."""
    schema_: Literal[
        "debian", "debian_sentences", "query_document", "document_sentences", "scored_pairs", "labelled"
    ] = Field(alias="schema")
    weight: float = Field(1.0, gt=0)
    """Share of the batches, relative to the other sets."""
    maximum_examples: int = Field(50_000, gt=0)
    symmetric: bool = False
    """Both sides are of one kind: the query prompt on both."""
    own_negatives_only: bool = False
    """Other examples of the batch may share the label: contrast with the example's own negatives only."""


class AlignRecipe(Frozen):
    """Stage 1: the connector learns to speak the LLM's language."""

    steps: int = Field(gt=0)
    batch_texts: int = Field(gt=0)
    maximum_tokens: int = Field(64, gt=4)
    learning_rate: float = Field(gt=0)
    train_encoder: bool = False
    """Train the encoder's LoRA too, as the paper does; costs its backward pass."""


class FinetuneRecipe(Frozen):
    """Stage 2: contrastive representation finetuning."""

    steps: int = Field(gt=0)
    batch_pairs: int = Field(gt=1)
    maximum_query_tokens: int = Field(48, gt=4)
    maximum_document_tokens: int = Field(128, gt=4)
    learning_rate: float = Field(gt=0)
    """Of LoRA layers."""
    new_learning_rate: float = Field(gt=0)
    """Of connector, head and layer mix, which start untrained."""
    temperature: float = Field(0.02, gt=0)
    distillation_weight: float = Field(1.0, ge=0)
    """Weight of keeping the raw encoder's English similarities."""
    distillation_temperature: float = Field(0.02, gt=0)


class Recipe(Frozen):
    """Everything a training run needs."""

    model: ModelConfig
    seed: int = 0
    datasets: dict[str, DatasetRecipe] = Field(min_length=1)
    align: AlignRecipe | None = None
    finetune: FinetuneRecipe
    interpolation: float = Field(1.0, gt=0, le=1)
    """Share of what training changed that is kept; the rest stays the raw encoder (WiSE-FT, 2109.01903)."""

    @model_validator(mode="after")
    def _has_teacher(self) -> Self:
        if self.align and not self.model.llm:
            raise ValueError("stage 1 (align) aligns with an LLM, and the model has none")
        return self

    @model_validator(mode="after")
    def _has_something_to_go_back_to(self) -> Self:
        if self.interpolation < 1 and not self.model.residual:
            raise ValueError("interpolation goes back to the raw encoder, which needs the residual path")
        return self


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file isn't YAML, or a key is unknown or wrong.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {error}.", next_step="Check the file.") from error
    return validated(Recipe, values or {}, where=str(path))
