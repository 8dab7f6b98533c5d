"""Teachers of stage 2: models of any kind and dimension whose English similarities are kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError
from lusifer_training.token_rows import run_rows, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer_training.embed_function import Role
    from lusifer_training.trainer.distributed import Distributed

__all__ = ["Teacher", "load_teacher"]


class Teacher(Protocol):
    """Embed texts without prompts."""

    def __call__(self, texts: Sequence[str], role: Role) -> Tensor:
        """Return unit vectors ``(N, E)``."""
        ...


def load_teacher(location: str, distributed: Distributed) -> Teacher:
    """Load the teacher that a recipe names.

    Args:
        location: Folder of a checkpoint, or a file of JSON lines with ``text`` and ``vector``.
        distributed: Device and precision.

    Raises:
        TrainingError: The checkpoint or the file can't be read.
    """
    path = Path(location)
    if path.is_dir():
        return _CheckpointTeacher(path, distributed)
    return _VectorFile(path, distributed)


class _CheckpointTeacher:
    def __init__(self, folder: Path, distributed: Distributed) -> None:
        self.model = load_checkpoint(folder)
        self.model.merge_lora()
        self.model.to(distributed.device)
        self.distributed = distributed
        self.tokenizer = load_tokenizer(self.model.config.tokenizer)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], role: Role) -> Tensor:
        config, model = self.model.config, self.model
        prompt = config.role_prompts[role]
        rows = tokenize(self.tokenizer, [prompt + text for text in texts], config.maximum_tokens)
        with self.distributed.autocast():
            vectors = run_rows(model, rows, model.pad_token_id, device=self.distributed.device)
        return vectors.float()


class _VectorFile:
    def __init__(self, path: Path, distributed: Distributed) -> None:
        self.path = path
        self.device = distributed.device
        self.row_of: dict[str, int] = {}
        vectors: list[Tensor] = []
        for number, record in enumerate(read_json_lines(path, ("text", "vector")), start=1):
            vector = _vector(record["vector"])
            if vector is None or (vectors and len(vector) != len(vectors[0])):
                dimension = f"{len(vectors[0])} numbers" if vectors else "numbers"
                raise DataError(
                    f"{path}, line {number}: vector is {record['vector']!r:.60}, expected a list "
                    f"of {dimension}, finite and not all zero.",
                    next_step="Correct or remove the line.",
                )
            self.row_of[record["text"]] = len(vectors)
            vectors.append(vector)
        if not vectors:
            raise DataError(f"{path} has no vectors.", next_step="Name the file that holds them.")
        self.vectors = normalize(torch.stack(vectors), dim=-1)

    def __call__(self, texts: Sequence[str], role: Role) -> Tensor:
        try:
            rows = [self.row_of[text] for text in texts]
        except KeyError as error:
            raise DataError(
                f"{self.path} has no vector of {error.args[0]!r:.80}.",
                next_step="Embed every text of the recipe's datasets with the teacher.",
            ) from error
        return self.vectors[rows].to(self.device)


def _vector(value: object) -> Tensor | None:
    """Convert a JSON value to a vector; return None if it isn't a list of numbers with a length."""
    if not isinstance(value, list) or not all(type(each) in (int, float) for each in value):
        return None
    vector = torch.tensor(value, dtype=torch.float32)
    length = vector.norm().item()
    return vector if math.isfinite(length) and length > 0 else None
