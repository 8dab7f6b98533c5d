"""The model ``lusifer_tokenizer`` of Triton's Python backend: copied into the repository as ``model.py``.

Needs ``pip install lusifer`` in the server's Python (no extra, no torch), so that a text is
checked, prompted and cut by the same code as everywhere else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import triton_python_backend_utils as triton

from lusifer.bundle.format import Bundle, Manifest
from lusifer.common.validation import check_text
from lusifer.embedding.tokenization import TextTokenizer
from lusifer.errors import LusiferError, MalformedRequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TritonPythonModel:
    """Texts and roles ``(B, 1)`` to ids and mask ``(B, T)``, T one of the length buckets."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read tokenizer and manifest of this version."""
        folder = Path(args["model_repository"], args["model_version"])
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        self._tokenizer = TextTokenizer(Bundle(folder, manifest))
        self._pad = manifest.pad_token_id
        parameters = json.loads(args["model_config"])["parameters"]
        self._buckets = [
            int(each) for each in parameters["length_buckets"]["string_value"].split(",")
        ]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one that can't be used gets an error and the others don't notice."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        texts, roles = (
            triton.get_input_tensor_by_name(request, name).as_numpy()[:, 0]
            for name in ("text", "role")
        )
        try:
            rows = [self._row(*pair) for pair in zip(texts, roles, strict=True)]
        except LusiferError as error:
            problem = triton.TritonError(str(error), triton.TritonError.INVALID_ARG)
            return triton.InferenceResponse(error=problem)
        width = next(each for each in self._buckets if each >= max(len(ids) for ids, _ in rows))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, (row, _) in enumerate(rows):
            ids[index, : len(row)], mask[index, : len(row)] = row, 1
        tokens = np.array([[len(row)] for row, _ in rows], dtype=np.int32)
        truncated = np.array([[cut] for _, cut in rows], dtype=bool)
        return triton.InferenceResponse(
            [
                triton.Tensor("input_ids", ids),
                triton.Tensor("attention_mask", mask),
                triton.Tensor("tokens", tokens),
                triton.Tensor("truncated", truncated),
            ]
        )

    def _row(self, text: bytes, role: bytes) -> tuple[NDArray[np.int32], bool]:
        name = role.decode("utf-8", "replace")
        if name not in ("query", "document"):
            raise MalformedRequestError(
                f"The role is {name!r}.",
                next_step="Use query for questions and document for what they find.",
            )
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRequestError(
                f"The text is not UTF-8: {error}.", next_step="Encode it as UTF-8."
            ) from error
        check_text(decoded)
        (outcome,) = self._tokenizer.rows([decoded], name, "truncate")
        if isinstance(outcome, LusiferError):
            raise outcome
        return outcome.windows[0], outcome.truncated
