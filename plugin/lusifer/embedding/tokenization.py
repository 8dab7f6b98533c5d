"""Turn a text and its role into rows of token ids, under one of three policies for long texts.

A row is ``prefix + prompt + content + suffix`` (``<s> query: ... </s>``). The tokenizer library
could cut and add special tokens by itself, but it does not report how much it cut, and it
tokenizes the whole text first. :mod:`lusifer.embedding.text_division` says how a text is divided
before it is tokenized.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.native import catch_panics
from lusifer.embedding.text_division import TextDivision
from lusifer.errors import (
    BundleCorruptError,
    InvalidInputError,
    InvalidTextError,
    LusiferError,
    TextTooLongError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from lusifer.bundle.format import Bundle
    from lusifer.types import LongTextPolicy, Role

__all__ = ["TextTokenizer", "TokenRows"]

_CHARACTERS_PER_TOKEN = 8
_LEAST_CHARACTERS = 4096
"""Beginning of a long text that is tokenized first: for each token of the limit, and at least.
Where these characters make too few tokens, a longer beginning follows."""

_UNDIVIDED_CHARACTERS = 65_536
"""Number of characters, before or after normalization, up to which a safe division is sought. A
text without one, such as a row of a million exclamation marks, is divided there."""

_SLICE_CHARACTERS = 65_536
_SLICE_TEXTS = 512
"""Bounds of what is tokenized at once, and so of the memory of the tokenizer's own records and of
the time until a cancelled request ends."""

_FOREIGN_CHARACTERS = 4
"""Number of ASCII characters that one of a text with others counts for: a normalizer makes up to 18
of one, and a tokenizer fewer pieces longer than a character."""


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


class _Begun(NamedTuple):
    """A text that is read part by part."""

    text: str
    first: str
    """The part that is read in any case."""
    plan: Iterator[str]
    """What may be read after it: the other parts for windows, else longer and longer beginnings."""


class _Tokens(NamedTuple):
    """Token ids of prompt and text, without special tokens."""

    ids: NDArray[np.int32]
    start: int
    """Index of the first token of the text itself."""
    characters: int
    """Number of characters of the text."""
    whole: bool
    """Whether these are all ids of the text."""


class TextTokenizer:
    """Applies the tokenizer, prompts and token limit of a bundle.

    Args:
        bundle: The opened bundle.

    Raises:
        BundleCorruptError: The tokenizer can't be read, or a prompt fills the whole limit.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._maximum = bundle.manifest.maximum_tokens
        self._prompts = bundle.manifest.role_prompts.model_dump()
        with _tokenizer_errors(str(bundle.tokenizer_path)):
            self._tokenizer = _load(bundle)
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
        self._room = self._maximum - len(self._prefix) - len(self._suffix)
        self._first_characters = max(_LEAST_CHARACTERS, _CHARACTERS_PER_TOKEN * self._maximum)
        self._division = TextDivision(self._tokenizer)
        self._one_long_text = threading.Lock()

    def content_tokens(self, role: Role) -> int:
        """Return how many tokens of a text fit beside prompt and special tokens."""
        return self._room - self._prompt_tokens[role]

    def rows(
        self,
        texts: Sequence[str],
        role: Role,
        long_text: LongTextPolicy,
        *,
        between: Callable[[], None] = lambda: None,
    ) -> list[TokenRows | InvalidInputError]:
        """Tokenize checked texts; a text that can't be used leaves its error in its place.

        The error is InvalidTextError if the tokenizer drops every character. Under the policy
        ``error`` it may be TextTooLongError.

        Args:
            texts: The texts.
            role: Role of all texts.
            long_text: What happens to a text over the token limit.
            between: Called between two slices of the work. What it raises ends the work.
        """
        windows = long_text == "mean_of_windows"
        outcomes: list[TokenRows | InvalidInputError] = []
        begun = (self._begin(text, windows=windows) for text in texts)
        for part in chunked(
            begun, _SLICE_TEXTS, size=lambda each: _size(each.first), maximum_size=_SLICE_CHARACTERS
        ):
            between()
            for tokens in self._tokens(part, role, windows=windows, between=between):
                try:
                    outcomes.append(self._text_rows(tokens, long_text))
                except InvalidInputError as error:
                    outcomes.append(error)
        return outcomes

    def _begin(self, text: str, *, windows: bool) -> _Begun:
        # Most texts are read whole at once.
        if len(text) <= (_UNDIVIDED_CHARACTERS if windows else self._first_characters):
            return _Begun(text, text, iter(()))
        plan = self._segments(text) if windows else self._beginnings(text)
        return _Begun(text, next(plan), plan)

    def _tokens(
        self, texts: Sequence[_Begun], role: Role, *, windows: bool, between: Callable[[], None]
    ) -> Iterator[_Tokens]:
        """Yield the ids of each text: all for windows, else enough to see if they are too many."""
        prompt = self._prompts[role]
        encodings = self._encode([prompt + each.first for each in texts])
        for (text, first, plan), encoding in zip(texts, encodings, strict=True):
            ids = np.asarray(encoding.ids, dtype=np.int32)
            start = self._content_start(encoding, first, role)
            whole = first is text
            if windows:
                rest = [ids]
                for segment in plan:
                    between()
                    rest += [np.asarray(self._encode([segment])[0].ids, dtype=np.int32)]
                ids, whole = np.concatenate(rest), True
            else:
                for longer in plan:
                    if len(ids) > self._room:
                        break
                    between()
                    (encoding,) = self._encode([prompt + longer])
                    ids = np.asarray(encoding.ids, dtype=np.int32)
                    start = self._content_start(encoding, longer, role)
                    whole = longer is text
            yield _Tokens(ids, start, len(text), whole)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        # The records of a long text take up to 100 times its memory: one at a time.
        is_long = len(texts) == 1 and _size(texts[0]) > _SLICE_CHARACTERS
        # In a batch also one text: only then does the library release Python's lock.
        with self._one_long_text if is_long else nullcontext(), _tokenizer_errors("The tokenizer"):
            encodings: list[Encoding] = self._tokenizer.encode_batch(
                texts, add_special_tokens=False
            )
        return encodings

    def _beginnings(self, text: str) -> Iterator[str]:
        """Yield longer and longer beginnings of a text, at last the whole of it."""
        end = self._first_characters
        while end < len(text):
            place = self._division.before(text, end)
            if place is None and (
                end >= _UNDIVIDED_CHARACTERS
                or self._division.normalized_length(text[:end]) >= _UNDIVIDED_CHARACTERS
            ):
                place = end
            if place is not None:
                yield text[:place]
            end *= 4
        yield text

    def _segments(self, text: str) -> Iterator[str]:
        """Yield the parts of a text whose tokens together are those of the text."""
        while len(text) > _UNDIVIDED_CHARACTERS and self._division.joins_at_spaces:
            place = self._division.space_before(text, _UNDIVIDED_CHARACTERS // 2) or (
                self._division.space_before(text, _UNDIVIDED_CHARACTERS) or _UNDIVIDED_CHARACTERS
            )
            yield text[:place]
            text = text[place:]
        yield text

    def _text_rows(self, tokens: _Tokens, long_text: LongTextPolicy) -> TokenRows:
        ids, start, room = tokens.ids, tokens.start, self._room
        if start >= len(ids):
            raise InvalidTextError(
                f"The tokenizer keeps none of the text's {tokens.characters} characters.",
                next_step="Leave the text out: it holds nothing the model can read.",
            )
        if len(ids) <= room:
            return TokenRows((self._row(ids),), (len(ids) - start,), truncated=False)
        if long_text == "error":
            total = len(ids) + len(self._prefix) + len(self._suffix)
            number = f"{total}" if tokens.whole else f"at least {total}"
            raise TextTooLongError(
                f"The text has {number} tokens, the limit is {self._maximum}.",
                next_step="Split the text, or use the policy 'truncate' or 'mean_of_windows'.",
            )
        if long_text == "truncate":
            # A copy, or the view would keep all ids of the beginning alive.
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


def _size(text: str) -> int:
    """Return the size of a text for the bounds of a slice."""
    return len(text) if text.isascii() else _FOREIGN_CHARACTERS * len(text)


@contextmanager
def _tokenizer_errors(name: str) -> Iterator[None]:
    """Turn whatever the library raises, panics too, into an error about the bundle."""
    try:
        with catch_panics():
            yield
    except LusiferError:
        raise
    except Exception as error:  # the library raises bare Exception for a file it can't parse
        reason = " ".join(str(error).split())[:300]
        raise BundleCorruptError(
            f"{name} can't be used: {reason}.", next_step="Export the bundle again."
        ) from error


def _load(bundle: Bundle) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bundle.tokenizer_path))
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
