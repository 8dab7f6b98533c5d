"""A divided text has the tokens of the whole one, for every kind of tokenizer, in many scripts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from lusifer.embedding import tokenization
from lusifer.embedding.text_division import TextDivision
from lusifer.embedding.tokenization import TextTokenizer, TokenRows
from lusifer.service.canary import canary_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lusifer.bundle.format import Bundle

TEXTS = [
    *canary_texts(),
    "!!!!! ??? ... !?#!?# -- ----- ''''' ``quoted'' (a) [b] {c}",
    "猫はマットの上に座っています。猫猫猫猫。のののの",
    "한국어 문장은 띄어쓰기가 있습니다",
    "ﷺ ﬁne ½ ① Ⅷ é é ǆ ẛ̣ क्षि நி ก็ ที่ 👩‍👩‍👧 🇩🇪🇫🇷",
    "aaaaaaaaaaaaaaa aaaa abababababab 11111111111 0.0.0.0",
    "line\nline\r\n\r\nline\t\ttab     spaces",
]


def _unigram(split: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    trainer = trainers.UnigramTrainer(
        vocab_size=500, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=600, show_progress=False))
    return tokenizer


def _words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _undivided_words(prepend: bool) -> Tokenizer:
    """Train BPE on whole texts: pieces may have a space inside, as in Gemma's and Llama's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    marks = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), *marks] if prepend else marks
    )
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "unigram": _unigram,
    "unigram of whole texts": lambda: _unigram(split=False),
    "bytes": _bytes,
    "words": _words,
    "BPE of whole texts": lambda: _undivided_words(prepend=False),
    "BPE of whole texts after a mark": lambda: _undivided_words(prepend=True),
}
every_kind = pytest.mark.parametrize("kind", MAKERS)
_made: dict[str, Tokenizer] = {}

characters = st.one_of(
    st.sampled_from(sorted(set("".join(TEXTS)) | set(" \n\t\u200b\u0301\u0600\u00ad"))),
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"),
)
parts = st.one_of(
    st.sampled_from(TEXTS),
    st.text(characters, min_size=1, max_size=12),
    st.tuples(st.text(characters, min_size=1, max_size=3), st.integers(2, 60)).map(
        lambda part: part[0] * part[1]
    ),
)
texts = st.lists(parts, min_size=2, max_size=12).map("".join)


def tokenizer_of(kind: str) -> Tokenizer:
    if kind not in _made:
        _made[kind] = MAKERS[kind]()
    return _made[kind]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


@every_kind
@given(text=texts, share=st.floats(0.05, 0.95))
def test_the_beginning_has_the_first_tokens_of_the_text(kind: str, text: str, share: float) -> None:
    tokenizer = tokenizer_of(kind)
    end = max(1, int(share * len(text)))
    if end >= len(text):
        return
    place = TextDivision(tokenizer).before(text, end)
    if place is not None:
        assert end // 2 < place <= end
        beginning = ids(tokenizer, text[:place])
        assert ids(tokenizer, text)[: len(beginning)] == beginning


@every_kind
@given(text=texts, share=st.floats(0.05, 0.95))
def test_the_parts_have_the_tokens_of_the_text(kind: str, text: str, share: float) -> None:
    tokenizer = tokenizer_of(kind)
    end = max(1, int(share * len(text)))
    if end >= len(text):
        return
    place = TextDivision(tokenizer).space_before(text, end)
    if place is not None:
        assert ids(tokenizer, text[:place]) + ids(tokenizer, text[place:]) == ids(tokenizer, text)


@every_kind
@pytest.mark.parametrize("text", canary_texts()[::4], ids=lambda text: text[:8])
def test_ordinary_text_can_be_divided(kind: str, text: str) -> None:
    division = TextDivision(tokenizer_of(kind))
    text = text * 20
    has_spaces = " " in text
    if has_spaces or kind == "unigram":
        assert division.before(text, len(text) // 2) is not None
    if has_spaces and division.joins_at_spaces:
        assert division.space_before(text, len(text) // 2) is not None


def test_parts_can_be_joined_where_words_begin_at_spaces() -> None:
    assert TextDivision(tokenizer_of("unigram")).joins_at_spaces
    assert TextDivision(tokenizer_of("bytes")).joins_at_spaces
    assert TextDivision(tokenizer_of("words")).joins_at_spaces
    assert not TextDivision(tokenizer_of("BPE of whole texts after a mark")).joins_at_spaces


def test_a_row_of_one_character_is_not_divided_where_its_pieces_depend_on_its_end() -> None:
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("!", -2.0), ("!!!", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert ids(tokenizer, "!" * 9)[:3] != ids(tokenizer, "!" * 10)[:3]
    division = TextDivision(tokenizer)
    assert division.before("!" * 100, 50) is None
    assert division.before("!" * 30 + "?" * 70, 50) == 50
    assert division.before("!" * 40 + "?" + "!" * 60, 50) == 41


@every_kind
@given(text=texts)
def test_rows_are_those_of_the_whole_text(
    kind: str, text: str, bundle_of: Callable[[str], Bundle]
) -> None:
    made = bundle_of(kind)
    whole = TextTokenizer(made)
    whole._first_characters = 10**9
    divided = TextTokenizer(made)
    divided._first_characters = 16
    for policy in ("truncate", "error"):
        (expected,) = whole.rows([text], "document", policy)
        (found,) = divided.rows([text], "document", policy)
        assert type(found) is type(expected)
        if isinstance(found, TokenRows) and isinstance(expected, TokenRows):
            assert found.truncated == expected.truncated
            assert found.windows[0].tolist() == expected.windows[0].tolist()
            assert found.weights == expected.weights


@pytest.fixture(scope="module")
def bundle_of(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """Return a function that makes the tiny bundle with the tokenizer of a kind, limit 12 tokens."""
    from tokenizers import processors

    from lusifer.bundle.format import Bundle, RolePrompts

    made: dict[str, Bundle] = {}

    def make(kind: str) -> Bundle:
        if kind not in made:
            folder = tmp_path_factory.mktemp("tokenizer")
            tokenizer = Tokenizer.from_str(tokenizer_of(kind).to_str())
            tokenizer.add_special_tokens(["<s>", "</s>"])
            marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("<s>", "</s>")]
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A </s>", special_tokens=marks
            )
            tokenizer.save(str(folder / "tokenizer.json"))
            changes = {
                "role_prompts": RolePrompts(query="q: ", document="d: "),
                "maximum_tokens": 12,
            }
            manifest = Bundle.open(tiny_bundle).manifest.model_copy(update=changes)
            made[kind] = Bundle(folder, manifest)
        return made[kind]

    return make


@pytest.mark.parametrize("long_text", ["truncate", "mean_of_windows"])
def test_a_million_equal_characters_are_divided(
    bundle_of: Callable[[str], Bundle], long_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    tokenizer = TextTokenizer(bundle_of("unigram"))
    encode = tokenizer._encode
    monkeypatch.setattr(
        tokenizer, "_encode", lambda parts: (read.append(max(map(len, parts))), encode(parts))[1]
    )
    (rows,) = tokenizer.rows(["!" * 1_000_000], "document", long_text)  # type: ignore[arg-type]
    assert isinstance(rows, TokenRows)
    assert max(read) <= tokenization._UNDIVIDED_CHARACTERS + 100


def test_texts_that_normalization_makes_longer_are_read_in_small_slices(
    bundle_of: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """U+FDFA becomes 18 characters, and no place between two of them is safe."""
    read: list[int] = []
    tokenizer = TextTokenizer(bundle_of("unigram"))
    encode = tokenizer._encode
    monkeypatch.setattr(
        tokenizer, "_encode", lambda parts: (read.append(sum(map(len, parts))), encode(parts))[1]
    )
    outcomes = tokenizer.rows(["\ufdfa" * 300_000] * 15, "document", "truncate")
    assert [isinstance(rows, TokenRows) and rows.truncated for rows in outcomes] == [True] * 15
    assert 18 * max(read) <= 5 * tokenization._UNDIVIDED_CHARACTERS
    assert sum(read) <= 15 * (tokenization._LEAST_CHARACTERS + 10)


def test_the_records_of_one_long_text_are_in_memory_at_a_time(
    bundle_of: Callable[[str], Bundle],
) -> None:
    """Read all of a million invisible characters, since no token may be lost after them."""
    tokenizer = TextTokenizer(bundle_of("unigram"))
    text = "\u200b" * 400_000 + "the end"
    with ThreadPoolExecutor(2) as threads, tokenizer._one_long_text:
        short = threads.submit(tokenizer.rows, ["short"], "query", "truncate")
        long = threads.submit(tokenizer.rows, [text], "query", "truncate")
        assert isinstance(short.result(60)[0], TokenRows)
        with pytest.raises(TimeoutError):
            long.result(0.2)
        tokenizer._one_long_text.release()
        assert isinstance(long.result(60)[0], TokenRows)
        tokenizer._one_long_text.acquire()


def test_what_is_raised_between_slices_ends_the_work(bundle_of: Callable[[str], Bundle]) -> None:
    class GoneError(Exception):
        pass

    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise GoneError

    with pytest.raises(GoneError):
        TextTokenizer(bundle_of("words")).rows(
            ["some words " * 3000] * 100, "query", "truncate", between=between
        )
    assert calls == 3
