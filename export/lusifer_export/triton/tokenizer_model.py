"""The model ``lusifer_tokenizer`` of Triton's Python backend, a repository's ``model.py``.

It needs ``pip install lusifer`` in the server's Python, without extras and torch. So the same code
as everywhere checks, prompts and cuts a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np
import triton_python_backend_utils as triton

from lusifer.bundle.format import Bundle, Manifest
from lusifer.common.validation import check_text
from lusifer.embedding.tokenization import TextTokenizer
from lusifer.errors import LusiferError, MalformedRequestError
from lusifer.types import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TritonPythonModel:
    """Turns texts and roles ``(B, 1)`` into ids and mask ``(B, T)``; T is one of the buckets."""

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

    def execute(self, requests: list[triton.InferenceRequest]) -> list[triton.InferenceResponse]:
        """Answer each request; an invalid one gets an error and does not affect the others."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: triton.InferenceRequest) -> triton.InferenceResponse:
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
        if name not in get_args(Role):
            raise MalformedRequestError(
                f"The role is {name!r}.",
                next_step="Use query for queries and document for texts that they find.",
            )
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRequestError(
                f"The text is not UTF-8: {error}.", next_step="Encode it as UTF-8."
            ) from error
        check_text(decoded)
        (outcome,) = self._tokenizer.rows([decoded], cast("Role", name), "truncate")
        if isinstance(outcome, LusiferError):
            raise outcome
        return outcome.windows[0], outcome.truncated
