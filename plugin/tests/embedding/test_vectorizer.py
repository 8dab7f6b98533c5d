from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lusifer.bundle.format import Bundle
from lusifer.common.validation import check_text
from lusifer.embedding.tokenization import TokenRows
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import (
    BundleCorruptError,
    EngineBusyError,
    EngineOutputError,
    InvalidDimensionError,
    InvalidInputError,
    InvalidTextError,
    LusiferError,
    TextTooLongError,
)
from lusifer.types import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

NOISE = 1e-6
LONG = "the cat sits on the mat and " * 40
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _embeddable(text: str) -> bool:
    try:
        check_text(text)
    except InvalidTextError:
        return False
    return True


TEXTS = st.lists(st.text(max_size=60).filter(_embeddable), min_size=1, max_size=8)


class Recorder:
    """An engine that remembers what it was fed."""

    name = "recorder"

    def __init__(self) -> None:
        self.fed: list[NDArray[np.int64]] = []
        self.shapes: list[tuple[int, ...]] = []
        self._inner = FakeEngine(16)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        self.shapes.append(input_ids.shape)
        self.fed += [row[mask == 1] for row, mask in zip(input_ids, attention_mask, strict=True)]
        return self._inner.run(input_ids, attention_mask)

    def close(self) -> None: ...


@pytest.fixture(params=["onnx", "fake"])
def vectorizer(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Vectorizer]:
    engine = OnnxEngine(bundle.model_path) if request.param == "onnx" else FakeEngine(16)
    with Vectorizer(bundle, engine, batch_tokens=64) as opened:
        yield opened


@PROPERTY
@given(texts=TEXTS, seed=st.integers(0, 100))
def test_a_text_has_one_vector(vectorizer: Vectorizer, texts: list[str], seed: int) -> None:
    together = vectorizer.embed_documents(texts)
    assert len(together) == len(texts)
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    shuffled = vectorizer.embed_documents([texts[i] for i in order])
    streamed = list(vectorizer.stream(texts, "document", window=3))
    for place, i in enumerate(order):
        alone = vectorizer.embed([texts[i]], "document")[0]
        from_stream = streamed[i]
        assert isinstance(from_stream, Embedding)
        for other in (alone, shuffled[place], from_stream):
            assert np.abs(together[i].vector - other.vector).max() <= NOISE
            assert (other.tokens, other.truncated) == (together.tokens[i], together.truncated[i])
    assert np.linalg.norm(together.vectors, axis=1) == pytest.approx(1, abs=1e-3)


@PROPERTY
@given(text=st.text(min_size=1, max_size=300).filter(_embeddable))
def test_truncated_flag_and_windows_agree_with_the_tokenizer(tiny_bundle: Path, text: str) -> None:
    bundle = Bundle.open(tiny_bundle, verify=False)
    from tokenizers import Tokenizer

    reference = Tokenizer.from_file(str(bundle.tokenizer_path))
    reference.encode_special_tokens = True
    ids = reference.encode("document: " + text).ids
    cut = Recorder()
    embedding = Vectorizer(bundle, cut).embed([text], "document")[0]
    assert embedding.truncated == (len(ids) > 32)
    assert embedding.tokens == min(len(ids), 32)
    assert cut.fed[0].tolist() == (ids if len(ids) <= 32 else [*ids[:31], 2])
    windows = Recorder()
    whole = Vectorizer(bundle, windows, long_text="mean_of_windows", batch_tokens=64).embed(
        [text], "document"
    )[0]
    assert not whole.truncated
    assert whole.tokens == sum(map(len, windows.fed))
    assert max(map(len, windows.fed)) <= 32
    assert all((row[0], row[-1]) == (0, 2) for row in windows.fed)
    if whole.tokens > 32:
        # The space after the prompt is a token of its own before some scripts, and then part of the
        # prompt.
        least = len(reference.encode("document:").ids) - 2
        assert any(_rejoin(windows.fed, prompt) == ids[1:-1] for prompt in (least, least + 1))


def _rejoin(rows: list[NDArray[np.int64]], prompt_tokens: int) -> list[int]:
    """Join prompt and content of a text from its windows, in the order fed: full ones first."""
    content = [token for row in rows for token in row[1 + prompt_tokens : -1].tolist()]
    return [*rows[0][1 : 1 + prompt_tokens].tolist(), *content]


def test_roles_have_their_prompts(bundle: Bundle) -> None:
    engine = Recorder()
    vectorizer = Vectorizer(bundle, engine)
    query = vectorizer.embed_query("the cat")
    document = vectorizer.embed_documents(["the cat"])[0]
    assert not np.allclose(query.vector, document.vector)
    assert np.array_equal(vectorizer.embed_queries(["the cat"]).vectors[0], query.vector)
    assert len(engine.fed[0]) == query.tokens
    with pytest.raises(InvalidInputError, match="role is 'passage'"):
        vectorizer.embed(["x"], "passage")  # type: ignore[arg-type]


def test_a_list_is_wanted(vectorizer: Vectorizer) -> None:
    with pytest.raises(InvalidInputError, match="one string"):
        vectorizer.embed_documents("text")


def test_nothing_in_nothing_out(vectorizer: Vectorizer) -> None:
    assert vectorizer.embed_documents([]).vectors.shape == (0, 16)
    assert list(vectorizer.stream([], "query")) == []


def test_special_tokens_in_a_text_are_text(bundle: Bundle) -> None:
    engine = Recorder()
    Vectorizer(bundle, engine).embed_documents(["<s>old price</s> <pad>"])
    assert engine.fed[0][[0, -1]].tolist() == [0, 2]
    assert not set(engine.fed[0][1:-1].tolist()) & {0, 1, 2, 3}


def test_windows_are_the_weighted_mean(bundle: Bundle) -> None:
    engine = Recorder()
    vector = (
        Vectorizer(bundle, engine, long_text="mean_of_windows").embed_documents([LONG])[0].vector
    )
    answers = [FakeEngine(16).run(row[None], np.ones_like(row)[None])[0] for row in engine.fed]
    tokenizer = Vectorizer(bundle, engine)._tokenizer._tokenizer
    fixed = len(tokenizer.encode("document:").ids)
    assert engine.fed[0][: fixed - 1].tolist() == engine.fed[-1][: fixed - 1].tolist()
    total = sum(
        (len(row) - fixed) * answer for row, answer in zip(engine.fed, answers, strict=True)
    )
    assert vector == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_policy_error_names_the_text_and_computes_nothing(bundle: Bundle) -> None:
    engine = Recorder()
    vectorizer = Vectorizer(bundle, engine, long_text="error")
    with pytest.raises(
        TextTooLongError, match=r"Text 1: The text has \d+ tokens, the limit is 32"
    ) as caught:
        vectorizer.embed_documents(["short", LONG])
    assert "mean_of_windows" in caught.value.next_step
    assert not engine.fed
    kinds = [type(item).__name__ for item in vectorizer.stream(["short", LONG, "more"], "document")]
    assert kinds == ["Embedding", "TextTooLongError", "Embedding"]


def test_first_invalid_text_is_named_before_anything_runs(bundle: Bundle) -> None:
    engine = Recorder()
    with pytest.raises(InvalidTextError, match="Text 2: The text holds a NUL"):
        Vectorizer(bundle, engine).embed_documents(["a", "b", "c\x00", ""])
    assert not engine.fed


def test_a_bad_line_does_not_lose_the_others(vectorizer: Vectorizer) -> None:
    texts: list[Any] = ["a", "", "b", "\ud800", None, "c\x00", "\u200b", "c"]
    items = list(vectorizer.stream(texts, "document", window=3))
    assert [type(item).__name__ for item in items] == [
        "Embedding", *["InvalidTextError"], "Embedding", *["InvalidTextError"] * 4, "Embedding"
    ]  # fmt: skip
    good = [item.vector for item in items if isinstance(item, Embedding)]
    assert (
        np.abs(np.stack(good) - vectorizer.embed_documents(["a", "b", "c"]).vectors).max() <= NOISE
    )


def test_stream_reads_one_window_ahead_and_no_further(bundle: Bundle) -> None:
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield f"text {number}"

    stream = Vectorizer(bundle, FakeEngine(16)).stream(texts(), "document", window=8)
    next(stream)
    assert taken == 8

    taken = 0
    long = ("x" * 400_000 for _ in texts())
    next(Vectorizer(bundle, FakeEngine(16)).stream(long, "document", window=512))
    assert taken == 3, "a window is bounded by characters too"


def test_a_million_characters(bundle: Bundle) -> None:
    text = "die Katze sitzt " * 62_500
    engine = FakeEngine(16)
    whole = Vectorizer(bundle, engine, long_text="mean_of_windows").embed_documents([text, "short"])
    assert whole.tokens[0] > 250_000
    cut = Vectorizer(bundle, engine).embed_documents([text])
    assert cut.truncated == (True,)
    assert cut.tokens == (32,)


def test_batches_keep_the_token_budget(bundle: Bundle) -> None:
    engine = Recorder()
    texts = ["cat " * (1 + number % 9) for number in range(100)]
    Vectorizer(bundle, engine, batch_tokens=64).embed_documents(texts)
    assert max(rows * length for rows, length in engine.shapes) <= 64
    assert sum(rows for rows, _ in engine.shapes) == 100
    tiny = Recorder()
    Vectorizer(bundle, tiny, batch_tokens=1).embed_documents(texts[:3])
    assert [rows for rows, _ in tiny.shapes] == [1, 1, 1]


@pytest.mark.parametrize("dimension", [16, 8, 4])
def test_matryoshka(tiny_bundle: Path, dimension: int) -> None:
    full = Vectorizer.load(tiny_bundle).embed_documents(["the cat", LONG]).vectors
    with Vectorizer.load(tiny_bundle, dimension=dimension) as vectorizer:
        vectors = vectorizer.embed_documents(["the cat", LONG]).vectors
        assert vectorizer.dimension == dimension
        assert vectorizer.fingerprint.startswith("sha256:")
    cut = full[:, :dimension]
    assert vectors == pytest.approx(cut / np.linalg.norm(cut, axis=1, keepdims=True), abs=1e-6)
    assert vectors.dtype == np.float32


def test_wrong_options_name_the_valid_ones(bundle: Bundle) -> None:
    with pytest.raises(InvalidDimensionError, match=r"Dimension 12 .* 16, 8, 4"):
        Vectorizer(bundle, FakeEngine(16), dimension=12)
    with pytest.raises(InvalidDimensionError):
        Vectorizer(bundle, FakeEngine(16), dimension=0)
    with pytest.raises(InvalidInputError, match="long_text is 'cut'") as caught:
        Vectorizer(bundle, FakeEngine(16), long_text="cut")  # type: ignore[arg-type]
    assert "truncate, mean_of_windows, error" in caught.value.next_step
    with pytest.raises(InvalidInputError, match="batch_tokens is 0"):
        Vectorizer(bundle, FakeEngine(16), batch_tokens=0)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(nan_on={2}), "NaN or infinity in 1 of 1"),
        (Faults(short_answer_on={2}), r"shape \(0, 16\) for 1 rows"),
        (Faults(wrong_dimension_on={2}), "dimension 17 instead of 16"),
        (Faults(not_unit_on={2}), "norm 1 away from 1"),
    ],
)
def test_no_bad_vector_leaves(bundle: Bundle, faults: Faults, words: str) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(16, faults=faults), batch_tokens=1)
    with pytest.raises(EngineOutputError, match=words):
        vectorizer.embed_documents(["a", "b", "c"])
    with pytest.raises(EngineOutputError, match=words):
        list(
            Vectorizer(bundle, FakeEngine(16, faults=faults), batch_tokens=1).stream(
                ["a", "b", "c"], "query"
            )
        )


def test_float64_answers_are_refused(bundle: Bundle) -> None:
    class Double(FakeEngine):
        def run(self, input_ids: Any, attention_mask: Any) -> Any:
            return super().run(input_ids, attention_mask).astype(np.float64)

    with pytest.raises(EngineOutputError, match="float64"):
        Vectorizer(bundle, Double(16)).embed_query("a")


def test_memory_trouble_halves_the_batch(bundle: Bundle) -> None:
    texts = [f"text {number}" for number in range(20)]
    right = Vectorizer(bundle, FakeEngine(16)).embed_documents(texts).vectors
    engine = FakeEngine(16, faults=Faults(out_of_memory_above_rows=3))
    assert np.array_equal(Vectorizer(bundle, engine).embed_documents(texts).vectors, right)
    assert engine.rows == 20
    with pytest.raises(EngineBusyError, match="1 rows"):
        Vectorizer(
            bundle, FakeEngine(16, faults=Faults(out_of_memory_above_rows=0))
        ).embed_documents(texts)


def test_other_errors_are_not_retried(bundle: Bundle) -> None:
    class Broken(FakeEngine):
        def run(self, input_ids: Any, attention_mask: Any) -> Any:
            self.calls += 1
            raise ZeroDivisionError

    engine = Broken(16)
    with pytest.raises(ZeroDivisionError):
        Vectorizer(bundle, engine).embed_documents(["a", "b"])
    assert engine.calls == 1


def test_unusable_tokenizer_and_prompt(bundle: Bundle, tmp_path: Path) -> None:
    import dataclasses
    import shutil

    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleCorruptError, match=r"tokenizer\.json can't be used"):
        Vectorizer(dataclasses.replace(bundle, path=copy), FakeEngine(16))
    short = bundle.manifest.model_copy(update={"maximum_tokens": 4})
    with pytest.raises(BundleCorruptError, match="limit is 4"):
        Vectorizer(dataclasses.replace(bundle, manifest=short), FakeEngine(16))


def test_text_the_tokenizer_drops(bundle: Bundle) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(16))
    from tokenizers.normalizers import Replace

    vectorizer._tokenizer._tokenizer.normalizer = Replace("猫", "")
    with pytest.raises(InvalidTextError, match="keeps none"):
        vectorizer.embed_documents(["猫猫"])
    assert isinstance(next(vectorizer.stream(["猫"], "query")), LusiferError)


def test_windows_without_direction_are_refused(bundle: Bundle) -> None:
    vectorizer = Vectorizer(bundle, FakeEngine(16))
    opposite = np.eye(2, 16, dtype=np.float32)
    opposite[1] = -opposite[0]
    with pytest.raises(EngineOutputError, match="no direction"):
        vectorizer.assemble(
            [TokenRows((np.array([1]), np.array([2])), (3, 3), truncated=False)], opposite
        )
