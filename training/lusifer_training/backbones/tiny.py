"""Random backbones of a few kilobytes, named ``tiny:bert``, ``tiny:llama`` and ``tiny:tokenizer``.

A run with them takes seconds, needs no download and proves that everything is installed. The
model learns nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lusifer_training.errors import MissingBackboneError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["tiny_backbone"]

SIZES = {"vocab_size": 320, "num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 1}
"""Sizes that both backbones share."""
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def tiny_backbone(kind: str) -> Path:
    """Return the folder of a tiny backbone; write it into the user's cache at the first call.

    Raises:
        MissingBackboneError: There is no such kind.
    """
    writers: dict[str, Callable[[Path], None]] = {
        "bert": _write_bert,
        "llama": _write_llama,
        "tokenizer": lambda folder: _tokenizer().save(str(folder / "tokenizer.json")),
    }
    if kind not in writers:
        raise MissingBackboneError(
            f"There is no tiny {kind}.", next_step=f"Choose from {', '.join(writers)}."
        )
    # The name ends with a version, because other sizes would be other weights.
    folder = platformdirs.user_cache_path("lusifer") / "tiny" / f"{kind}-1"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            writers[kind](aside)
        # Two processes may write it at once; their copies are equal.
        if folder.is_dir():
            shutil.rmtree(aside)
        else:
            aside.rename(folder)
    return folder


def _write_bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(**SIZES, hidden_size=32, num_hidden_layers=2, max_position_embeddings=64)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def _write_llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    shape = {"hidden_size": 48, "num_hidden_layers": 4, "num_key_value_heads": 2}
    tokens = {"bos_token_id": 0, "eos_token_id": 2}
    config = LlamaConfig(**SIZES, **shape, **tokens, max_position_embeddings=128)
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)


def _tokenizer() -> Tokenizer:
    """Build a byte tokenizer that puts <s> first and </s> last."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(
        models.BPE({piece: at for at, piece in enumerate(pieces)}, [], unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer
