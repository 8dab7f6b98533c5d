"""Turn a text and its role into rows of token ids, under one of three policies for long texts.

A row is ``prefix + prompt + content + suffix`` (``<s> query: ... </s>``). The tokenizer library
could cut and add special tokens by itself, but it does not report how much it cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import BundleCorruptError, InvalidInputError, InvalidTextError, TextTooLongError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from lusifer.bundle.format import Bundle
    from lusifer.types import LongTextPolicy, Role

__all__ = ["TextTokenizer", "TokenRows"]


@dataclass(frozen=True)
class TokenRows:
    """Token ids of one text, ready for the engine."""

    windows: tuple[NDArray[np.int32], ...]
    """Token ids ``(T_w,)`` of each window; one window unless the policy is ``mean_of_windows``."""
    weights: tuple[int, ...]
    """Number of content tokens in each window."""
    truncated: bool
    """Whether the end of the text was cut off."""

    @property
    def tokens(self) -> int:
        """Number of tokens in all windows, prompts and special tokens included."""
        return sum(map(len, self.windows))


class TextTokenizer:
    """Applies the tokenizer, prompts and token limit of a bundle.

    Args:
        bundle: The opened bundle.

    Raises:
        BundleCorruptError: The tokenizer can't be read, or a prompt fills the whole limit.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._tokenizer = _load(bundle)
        self._maximum = bundle.manifest.maximum_tokens
        self._prompts = bundle.manifest.role_prompts.model_dump()
        self._prefix, self._suffix = _special_tokens(self._tokenizer)
        self._prompt_tokens = {
            role: len(self._tokenizer.encode(prompt, add_special_tokens=False).ids)
            for role, prompt in self._prompts.items()
        }
        fixed = len(self._prefix) + len(self._suffix) + max(self._prompt_tokens.values())
        if fixed >= self._maximum:
            raise BundleCorruptError(
                f"Prompt and special tokens take {fixed} tokens, the bundle's limit is "
                f"{self._maximum}.",
                next_step="Export the bundle again with a larger maximum_tokens or shorter role "
                "prompts.",
            )

    def rows(
        self, texts: Sequence[str], role: Role, long_text: LongTextPolicy
    ) -> list[TokenRows | InvalidInputError]:
        """Tokenize checked texts; a text that can't be used leaves its error in its place.

        The error is InvalidTextError if the tokenizer drops every character. Under the policy
        ``error`` it may be TextTooLongError.
        """
        prompt = self._prompts[role]
        encodings = self._tokenizer.encode_batch(
            [prompt + text for text in texts], add_special_tokens=False
        )
        outcomes: list[TokenRows | InvalidInputError] = []
        for encoding, text in zip(encodings, texts, strict=True):
            try:
                outcomes.append(self._text_rows(encoding, text, role, long_text))
            except InvalidInputError as error:
                outcomes.append(error)
        return outcomes

    def _text_rows(
        self, encoding: Encoding, text: str, role: Role, long_text: LongTextPolicy
    ) -> TokenRows:
        ids = np.asarray(encoding.ids, dtype=np.int32)
        start = self._content_start(encoding, text, role)
        if start >= len(ids):
            raise InvalidTextError(
                f"The tokenizer keeps none of the text's {len(text)} characters.",
                next_step="Leave the text out: it holds nothing the model can read.",
            )
        room = self._maximum - len(self._prefix) - len(self._suffix)
        if len(ids) <= room:
            return TokenRows((self._row(ids),), (len(ids) - start,), truncated=False)
        if long_text == "error":
            total = len(ids) + len(self._prefix) + len(self._suffix)
            raise TextTooLongError(
                f"The text has {total} tokens, the limit is {self._maximum}.",
                next_step="Split the text, or use the policy 'truncate' or 'mean_of_windows'.",
            )
        if long_text == "truncate":
            # A copy, or the view would keep all ids of a million characters alive.
            return TokenRows((self._row(ids[:room].copy()),), (room - start,), truncated=True)
        prompt, content = ids[:start], ids[start:]
        step = room - start
        parts = [content[at : at + step] for at in range(0, len(content), step)]
        windows = tuple(self._row(np.concatenate([prompt, part])) for part in parts)
        return TokenRows(windows, tuple(map(len, parts)), truncated=False)

    def _content_start(self, encoding: Encoding, text: str, role: Role) -> int:
        """Return the index of the first token that holds a character of the text itself.

        It is found by position, not by counting the prompt's tokens. Prompt and text are tokenized
        as one string, as in training, and a text can change the prompt's last token.
        """
        prompt = self._prompts[role]
        if not prompt:
            return 0
        first = len(prompt) + len(text) - len(text.lstrip())
        for position in range(first, min(first + 64, len(prompt) + len(text))):
            token = encoding.char_to_token(position)
            if token is not None:
                return int(token)
        return self._prompt_tokens[role]

    def _row(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.concatenate([self._prefix, ids, self._suffix])


def _load(bundle: Bundle) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(bundle.tokenizer_path))
    except Exception as error:  # the library raises bare Exception for a file it can't parse
        raise BundleCorruptError(
            f"{bundle.tokenizer_path} can't be read: {error}.", next_step="Export the bundle again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A text is data: "<s>old price</s>" on a web page is struck-out text, not the start and the end
    # of the input.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _special_tokens(tokenizer: Tokenizer) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the ids that the tokenizer puts before and after any text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        if bare and full[start : start + len(bare)] == bare:
            before, after = full[:start], full[start + len(bare) :]
            return np.asarray(before, dtype=np.int32), np.asarray(after, dtype=np.int32)
    raise BundleCorruptError(
        f"The tokenizer turns 'a' into {bare}, and into {full} with special tokens: it does not "
        "put them around the text.",
        next_step="Export the bundle again with a tokenizer that puts special tokens around the "
        "text.",
    )
