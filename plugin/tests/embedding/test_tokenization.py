"""Rows of a tokenizer of whole words, whose ids are known."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lusifer.bundle.format import Bundle, RolePrompts
from lusifer.embedding.tokenization import TextTokenizer, TokenRows
from lusifer.errors import BundleCorruptError, InvalidTextError, TextTooLongError

if TYPE_CHECKING:
    from lusifer.types import LongTextPolicy, Role

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "q:", "d:", "a", "b", "c"]


def tokenizer_file(path: Path, words: list[str] = WORDS, template: str = "<s> $A </s>") -> None:
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(path))


@pytest.fixture
def word_bundle(bundle: Bundle, tmp_path: Path) -> Bundle:
    """Make a bundle with at most 6 tokens: ``<s>``, one of the prompt, three words and ``</s>``."""
    tokenizer_file(tmp_path / "tokenizer.json")
    prompts = RolePrompts(query="q: ", document="d: ")
    manifest = bundle.manifest.model_copy(update={"role_prompts": prompts, "maximum_tokens": 6})
    return Bundle(tmp_path, manifest)


def row(bundle: Bundle, text: str, role: Role, policy: LongTextPolicy) -> TokenRows:
    (outcome,) = TextTokenizer(bundle).rows([text], role, policy)
    assert isinstance(outcome, TokenRows)
    return outcome


def ids(rows: TokenRows) -> list[list[int]]:
    return [window.tolist() for window in rows.windows]


@pytest.mark.parametrize(
    ("text", "role", "expected"),
    [
        ("a b", "query", [0, 4, 6, 7, 2]),
        ("a b", "document", [0, 5, 6, 7, 2]),
        ("a b c", "query", [0, 4, 6, 7, 8, 2]),
        ("elsewhere", "query", [0, 4, 3, 2]),
    ],
)
def test_prompt_and_special_tokens_surround_the_text(
    word_bundle: Bundle, text: str, role: Role, expected: list[int]
) -> None:
    found = row(word_bundle, text, role, "truncate")
    assert ids(found) == [expected]
    assert found.weights == (len(text.split()),)
    assert (found.tokens, found.truncated) == (len(expected), False)


def test_the_end_of_a_long_text_is_cut(word_bundle: Bundle) -> None:
    found = row(word_bundle, "a b c a b", "query", "truncate")
    assert ids(found) == [[0, 4, 6, 7, 8, 2]]
    assert (found.weights, found.truncated) == ((3,), True)


def test_windows_repeat_the_prompt_and_lose_no_word(word_bundle: Bundle) -> None:
    found = row(word_bundle, "a b c a b", "document", "mean_of_windows")
    assert ids(found) == [[0, 5, 6, 7, 8, 2], [0, 5, 6, 7, 2]]
    assert (found.weights, found.tokens, found.truncated) == ((3, 2), 11, False)


def test_a_long_text_under_the_policy_error_leaves_its_error(word_bundle: Bundle) -> None:
    outcomes = TextTokenizer(word_bundle).rows(["a", "a b c a b", "b"], "query", "error")
    assert [type(each) for each in outcomes] == [TokenRows, TextTooLongError, TokenRows]
    assert isinstance(outcomes[1], TextTooLongError)
    assert outcomes[1].message == "The text has 8 tokens, the limit is 6."


def test_without_a_prompt_the_content_is_the_whole_text(word_bundle: Bundle) -> None:
    prompts = RolePrompts(query="", document="")
    manifest = word_bundle.manifest.model_copy(update={"role_prompts": prompts})
    bare = dataclasses.replace(word_bundle, manifest=manifest)
    found = row(bare, "a b c a b", "query", "mean_of_windows")
    assert ids(found) == [[0, 6, 7, 8, 6, 2], [0, 7, 2]]
    assert found.weights == (4, 1)


def test_a_text_of_which_no_token_is_left_is_an_error(word_bundle: Bundle) -> None:
    (outcome,) = TextTokenizer(word_bundle).rows(["\u2003"], "query", "truncate")
    assert isinstance(outcome, InvalidTextError)
    assert outcome.message == "The tokenizer keeps none of the text's 1 characters."


def test_a_prompt_that_leaves_no_room_is_refused(word_bundle: Bundle) -> None:
    manifest = word_bundle.manifest.model_copy(update={"maximum_tokens": 3})
    with pytest.raises(BundleCorruptError) as caught:
        TextTokenizer(dataclasses.replace(word_bundle, manifest=manifest))
    assert caught.value.message == (
        "Prompt and special tokens take 3 tokens, the bundle's limit is 3."
    )


def test_special_tokens_must_surround_the_text(word_bundle: Bundle) -> None:
    tokenizer_file(word_bundle.tokenizer_path, template="$A </s>")
    assert ids(row(word_bundle, "a", "query", "truncate")) == [[4, 6, 2]]
    tokenizer_file(word_bundle.tokenizer_path, template="<s> </s>")
    with pytest.raises(BundleCorruptError, match=r"turns 'a' into \[\], and into \[0, 2\]"):
        TextTokenizer(word_bundle)


HOSTILE = {
    "version": "1.0",
    "added_tokens": [],
    # The library panics: the token of the template has no id.
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
}  # fmt: skip


@pytest.mark.parametrize("content", [json.dumps(HOSTILE), "{}", "", "[" * 100_000])
def test_a_tokenizer_that_has_the_library_panic_is_our_error(
    bundle: Bundle, tmp_path: Path, content: str
) -> None:
    folder = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BundleCorruptError, match=r"tokenizer\.json can't be used"):
        TextTokenizer(Bundle(folder, bundle.manifest))
