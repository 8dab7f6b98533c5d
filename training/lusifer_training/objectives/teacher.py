"""Teachers of stage 2: models whose similarities of English texts are kept, of any kind and
dimension.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lusifer_training.backbones.load import load_tokenizer
from lusifer_training.checkpoint import load_checkpoint
from lusifer_training.data.batches import pad, token_budget_batches, tokenize
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer_training.trainer.distributed import Distributed

__all__ = ["Teacher", "load_teacher"]


class Teacher(Protocol):
    """Unit vectors ``(N, E)`` of texts without prompts, in the role ``query`` or ``document``."""

    def __call__(self, texts: Sequence[str], role: str) -> Tensor:
        """Embed."""
        ...


def load_teacher(location: str, engine: Distributed) -> Teacher:
    """The teacher that a recipe names.

    Args:
        location: Folder of a checkpoint, or a file of JSON lines with ``text`` and ``vector``.
        engine: Where it runs.

    Raises:
        TrainingError: The checkpoint or the file can't be read.
    """
    path = Path(location)
    return _CheckpointTeacher(path, engine) if path.is_dir() else _VectorFile(path, engine)


class _CheckpointTeacher:
    def __init__(self, folder: Path, engine: Distributed) -> None:
        self.model = load_checkpoint(folder)
        self.model.merge_lora()
        self.model.to(engine.device)
        self.engine = engine
        self.tokenizer = load_tokenizer(self.model.config.tokenizer)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], role: str) -> Tensor:
        config = self.model.config
        prompt = config.role_prompts[role]
        rows = tokenize(self.tokenizer, [prompt + text for text in texts], config.maximum_tokens)
        groups = token_budget_batches([len(row) for row in rows], budget_tokens=4096)
        padding, device = self.model.pad_token_id, self.engine.device
        with self.engine.autocast():
            parts = [
                self.model(*pad([rows[at] for at in group], padding, device=device))
                for group in groups
            ]
        order = torch.tensor([index for group in groups for index in group], device=device)
        return torch.cat(parts)[order.argsort()].float()


class _VectorFile:
    def __init__(self, path: Path, engine: Distributed) -> None:
        self.path = path
        self.device = engine.device
        self.row_of: dict[str, int] = {}
        vectors: list[Tensor] = []
        for number, record in enumerate(read_json_lines(path, ("text", "vector")), start=1):
            vector = _vector(record["vector"])
            if vector is None or (vectors and len(vector) != len(vectors[0])):
                dimension = f"{len(vectors[0])} numbers" if vectors else "numbers"
                raise DataError(
                    f"{path}, line {number}: vector is {record['vector']!r:.60}, expected a list of "
                    f"{dimension}, finite and not all zero.",
                    next_step="Correct or remove the line.",
                )
            self.row_of[record["text"]] = len(vectors)
            vectors.append(vector)
        if not vectors:
            raise DataError(f"{path} has no vectors.", next_step="Name the file that holds them.")
        self.vectors = normalize(torch.stack(vectors), dim=-1)

    def __call__(self, texts: Sequence[str], role: str) -> Tensor:
        try:
            rows = [self.row_of[text] for text in texts]
        except KeyError as error:
            raise DataError(
                f"{self.path} has no vector of {error.args[0]!r:.80}.",
                next_step="Embed every text of the recipe's datasets with the teacher.",
            ) from error
        return self.vectors[rows].to(self.device)


def _vector(value: object) -> Tensor | None:
    """A JSON value as a vector, if it is one that has a direction."""
    if not isinstance(value, list) or not all(type(each) in (int, float) for each in value):
        return None
    vector = torch.tensor(value, dtype=torch.float32)
    length = vector.norm().item()
    return vector if math.isfinite(length) and length > 0 else None
