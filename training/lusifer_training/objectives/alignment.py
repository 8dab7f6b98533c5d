"""Stage 1, alignment: train the connector with the LLM's own states of English text as target.

The paper (arXiv 2501.00874, section 3.2) reconstructs tokens through the LM head. A model that
keeps only the first LLM layers can't use the head. So the target here is the states of those layers
when they read the same text from their own tokens. The two tokenizers cut texts differently, so
both sides are averaged over words:

::

    text ─ encoder tokens ─▶ encoder ─▶ connector ─▶ LLM layers      word means ─┐
    text ─ LLM tokens ─────▶ token table ──────────▶ LLM layers      word means ─┴─ 1 - cosine

States are compared at two places: the LLM's input (connector against token table) and the last kept
layer. The text is English only. The LLM is frozen, and the encoder's LoRA trains if the recipe asks
for it.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lusifer_training.token_rows import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

    from lusifer_training.model.lusifer import Lusifer

__all__ = ["AlignmentObjective", "word_means"]

GROUPS = 4
"""Number of groups of like length, which run one after the other, so that there is little padding.

The number is fixed: with FSDP every process must run the layers equally often.
"""

_WORD = re.compile(r"\S+")


class AlignmentObjective:
    """Compute the loss of one batch of English texts.

    Args:
        model: Built with ``keep_token_table=True``.
        tokenizer: Tokenizer of the encoder.
        llm_tokenizer: Tokenizer of the LLM.
        maximum_tokens: Texts are cut to this number of tokens of either tokenizer.
        train_encoder: Whether gradients reach the encoder.
    """

    def __init__(
        self,
        model: Lusifer,
        tokenizer: Tokenizer,
        llm_tokenizer: PreTrainedTokenizerBase,
        *,
        maximum_tokens: int,
        train_encoder: bool,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.llm_tokenizer: Tokenizer = llm_tokenizer.backend_tokenizer
        self.llm_bos: int = llm_tokenizer.bos_token_id
        self.maximum_tokens = maximum_tokens
        self.train_encoder = train_encoder

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the scalars ``loss``, its parts ``input`` and ``state``, and ``tokens``."""
        texts = sorted((" ".join(text.split()) for text in texts), key=len)
        size = -(-len(texts) // GROUPS)
        groups = [self._read(texts[start : start + size]) for start in range(0, len(texts), size)]
        input_cosines, state_cosines, words, tokens = (
            reduce(torch.add, each) for each in zip(*groups, strict=True)
        )
        at_input, at_state = 1 - input_cosines / words, 1 - state_cosines / words
        return {
            "loss": at_input + at_state,
            "input": at_input.detach(),
            "state": at_state.detach(),
            "tokens": tokens,
        }

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the summed cosines at input and state, and the counts of words and tokens."""
        ours = [_cut(each, self.maximum_tokens) for each in self.tokenizer.encode_batch(texts)]
        theirs = [
            _cut(each, self.maximum_tokens)
            for each in self.llm_tokenizer.encode_batch(texts, add_special_tokens=False)
        ]
        our_words, their_words = _shared_words(texts, ours, theirs)

        device = self.model.device
        our_words, their_words = our_words.to(device), their_words.to(device)
        ids, mask = pad([each[0] for each in ours], self.model.pad_token_id, device=device)
        with torch.set_grad_enabled(self.train_encoder):
            states, _ = self.model.encoder(ids, mask)
        inputs = self.model.connector(states)
        read = self.model.require_llm()(inputs, mask)

        # BOS comes first, as in the connector's path, and is dropped before words are compared.
        their_ids, their_mask = pad(
            [[self.llm_bos, *each[0]] for each in theirs], self.llm_bos, device=device
        )
        # The LLM's LoRA is still zero in stage 1: this is the original LLM.
        with torch.no_grad():
            embeddings, target = self.model.require_llm().read_tokens(their_ids, their_mask)
            embeddings, target = embeddings[:, 1:], target[:, 1:]

        at_input = _cosines(inputs, our_words, embeddings, their_words)
        at_state = _cosines(read, our_words, target, their_words)
        return at_input.sum(), at_state.sum(), torch.tensor(len(at_state)), mask.sum()


def word_means(states: Tensor, words: Tensor, n_words: int) -> Tensor:
    """Average the states of each word.

    Args:
        states: ``(B, T, H)``.
        words: Word number of each token ``(B, T)``, -1 for none.
        n_words: W.

    Returns:
        ``(B, W, H)``.
    """
    # One additional row collects the tokens outside words.
    index = torch.where(words < 0, n_words, words)
    one_hot = torch.nn.functional.one_hot(index, n_words + 1)[..., :n_words].to(states.dtype)
    counts = one_hot.sum(dim=1).clamp(min=1).unsqueeze(-1)
    return one_hot.transpose(1, 2) @ states / counts


def _cosines(ours: Tensor, our_words: Tensor, theirs: Tensor, their_words: Tensor) -> Tensor:
    """Return the cosine of every word that is on both sides ``(W,)``."""
    n_words = int(our_words.max()) + 1
    present = torch.zeros(our_words.shape[0], n_words, dtype=torch.bool, device=ours.device)
    for row, words in enumerate(our_words):
        present[row, words[words >= 0]] = True
    cosines = cosine_similarity(
        word_means(ours, our_words, n_words), word_means(theirs, their_words, n_words), dim=-1
    )
    return cosines[present]


def _cut(encoding: Encoding, maximum_tokens: int) -> tuple[list[int], list[tuple[int, int]]]:
    return encoding.ids[:maximum_tokens], encoding.offsets[:maximum_tokens]


def _shared_words(
    texts: Sequence[str],
    ours: Sequence[tuple[list[int], list[tuple[int, int]]]],
    theirs: Sequence[tuple[list[int], list[tuple[int, int]]]],
) -> tuple[Tensor, Tensor]:
    """Return the word number of every token ``(B, T)`` on both sides.

    It is -1 for tokens of a word that the other side doesn't have.
    """
    our_rows, their_rows = [], []
    for text, our, their in zip(texts, ours, theirs, strict=True):
        word_of = {}
        for number, match in enumerate(_WORD.finditer(text)):
            word_of.update(dict.fromkeys(range(*match.span()), number))
        # The last character of a token is always inside its word; the first may be a space.
        our_row = [word_of.get(end - 1, -1) if end > start else -1 for start, end in our[1]]
        their_row = [word_of.get(end - 1, -1) if end > start else -1 for start, end in their[1]]
        shared = set(our_row) & set(their_row)
        our_rows.append([word if word in shared else -1 for word in our_row])
        their_rows.append([word if word in shared else -1 for word in their_row])
    return _pad_words(our_rows), _pad_words(their_rows)


def _pad_words(rows: list[list[int]]) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])
