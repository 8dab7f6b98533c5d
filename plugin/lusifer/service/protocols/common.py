"""Parts that several protocols share: strict bodies, words for roles, lists of texts, base64."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

from lusifer.errors import RequestTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from lusifer.types import LongTextPolicy, Role

__all__ = [
    "ROLES",
    "Body",
    "TextOrTexts",
    "Texts",
    "check_count",
    "long_text_policy",
    "model_and_role",
    "texts_of",
    "to_base64",
]

Texts = Annotated[list[str], Field(fail_fast=True)]
"""List of texts that is refused at its first item that is none."""

ROLES: Mapping[str, Role] = {
    "query": "query",
    "search": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
    "update": "document",
    "classification": "document",
    "clustering": "document",
}
"""Word of a protocol -> role. Each protocol's body limits the words that it accepts."""


@dataclass(frozen=True)
class _OneMessage:
    """Annotation of a type whose errors are replaced by one message."""

    kind: str
    message: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type=self.kind, custom_error_message=self.message
        )


TextOrTexts = Annotated[
    str | Texts,
    _OneMessage(
        "texts_only",
        "Input should be a text or a list of texts. Token ids can't be embedded, because they come "
        "from another model's tokenizer; in LangChain set check_embedding_ctx_length=False",
    ),
]
"""One text or a list of them; the error names token ids, which some clients send by default."""


class Body(BaseModel):
    """Body of a request: no value is converted to another type, and null means not given.

    A field with a default takes null for it, whatever its type, because clients write their unset
    options so.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the class, in which each field with a default takes null for it."""
        schema = handler(source)
        model = cast("Any", schema)
        while model["type"] != "model-fields":
            model = model["schema"]
        for field in model["fields"].values():
            optional = field["schema"]
            if optional["type"] == "default" and optional["schema"]["type"] != "nullable":
                optional["schema"] = core_schema.no_info_after_validator_function(
                    partial(_given_or, optional["default"]),
                    core_schema.nullable_schema(optional["schema"]),
                )
        return schema


def _given_or(default: object, value: object) -> object:
    return default if value is None else value


ROLE_SUFFIXES = ("query", "search_query", "document", "passage", "search_document")
"""Words that may follow the model's name and a colon, in protocols without a field for the role."""


def model_and_role(model: str | None) -> tuple[str | None, Role | None]:
    """Split a model's name that may end in a colon and a role."""
    name, colon, suffix = (model or "").rpartition(":")
    if colon and suffix in ROLE_SUFFIXES:
        return name, ROLES[suffix]
    return model, None


def texts_of(texts: str | list[str]) -> list[str]:
    """Return the texts of a field that holds one text or a list of them."""
    return [texts] if isinstance(texts, str) else texts


def check_count(texts: Sequence[str], maximum: int, api: str) -> None:
    """Refuse more texts than the API of the protocol allows.

    Raises:
        RequestTooLargeError: There are more than ``maximum`` texts.
    """
    if len(texts) > maximum:
        raise RequestTooLargeError(
            f"The request has {len(texts)} texts, {api}'s API takes {maximum}.",
            next_step="Split it into smaller requests.",
        )


def to_base64(vector: NDArray[np.float32]) -> str:
    """Encode a vector ``(D,)`` as little-endian float32 in base64."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def long_text_policy(*, may_cut: bool, operator: LongTextPolicy) -> LongTextPolicy | None:
    """Return the policy of a request whose protocol only says whether long texts may be cut.

    Args:
        may_cut: The caller's wish. True means "do not fail", so the operator's average of windows
            stays, which a client's standing request for a cut would otherwise prevent.
        operator: The setting ``long_text``.

    Returns:
        None for the operator's policy.
    """
    if not may_cut:
        return "error"
    return "truncate" if operator == "error" else None
