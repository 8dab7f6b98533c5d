"""Sentence-transformers folders: equal vectors, or refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lusifer_training.backbones.sentence_folder import check_encoder
from lusifer_training.checkpoint import save_checkpoint
from lusifer_training.config import BackboneSource, ModelConfig
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import ConfigError, WrongLayoutError
from lusifer_training.model.lusifer import build_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = ["The cat sits on the mat.", "猫", "archive " * 100, "A library of formats"]
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture
def make(tiny: Any, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a folder with sentence-transformers itself."""

    def write(kind: str = "bert", pooling: Any = "mean", *, more: Any = (), **options: Any) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
        from tokenizers import Tokenizer
        from transformers import AutoModel, PreTrainedTokenizerFast

        plain = tmp_path / "plain"
        encoder = AutoModel.from_pretrained(tiny.encoder_folder(kind), add_pooling_layer=False)
        # The library always loads a pooler, whose output it doesn't read.
        type(encoder)(encoder.config).save_pretrained(plain)
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_file(str(tiny.tokenizer_file())),
            bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        ).save_pretrained(plain)  # fmt: skip
        transformer = Transformer(str(plain), max_seq_length=tiny.MAXIMUM_TOKENS)
        modules = [transformer, Pooling(tiny.HIDDEN, pooling), *more]
        model = SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu", **options)
        model.save(str(tmp_path / "folder"), create_model_card=False)
        return tmp_path / "folder"

    return write


@pytest.fixture
def config_of(tiny: Any) -> Callable[..., Any]:
    def config(folder: Path, **changes: Any) -> Any:
        where = f"folder:{folder}"
        # Prompts stay unstated, as in a recipe that doesn't name them.
        values = tiny.config(llm=None, encoder_lora=None).model_dump(exclude_unset=True)
        values["encoder"] = {"location": where, "format": "huggingface"}
        values["tokenizer"] = {"location": where, "format": "tokenizer", "file": "tokenizer.json"}
        return ModelConfig.model_validate({**values, **changes})

    return config


def change(path: Path, **values: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    old = json.loads(path.read_text()) if path.is_file() else {}
    new = {key: value for key, value in {**old, **values}.items() if value is not None}
    path.write_text(json.dumps(new))


@pytest.mark.parametrize(
    ("kind", "pooling", "ours"),
    [
        ("bert", "mean", "mean"),
        ("bert", "cls", "cls"),
        ("xlm-roberta", "cls", "cls"),
        ("xlm-roberta", "mean_sqrt_len_tokens", "mean"),
    ],
)
def test_vectors_are_those_of_sentence_transformers(
    make: Any, config_of: Any, tmp_path: Path, kind: str, pooling: str, ours: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make(kind, pooling)
    model = build_model(config_of(folder, encoder_pooling=ours))
    embed = checkpoint_embedder(save_checkpoint(model, tmp_path / "checkpoint", {}))
    judge = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    for role, encode in (("query", judge.encode_query), ("document", judge.encode_document)):
        expected = encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
        assert (embed(TEXTS, role) * expected).sum(axis=1).min() > 0.99999


def test_another_pooling_than_the_folders_is_refused_while_training_and_exporting(
    make: Any, config_of: Any
) -> None:
    folder = make("bert", "cls")
    for weights in (True, False):
        with pytest.raises(ConfigError, match=r"pools by cls, the configuration by mean") as caught:
            build_model(config_of(folder), weights=weights)
        assert caught.value.next_step.startswith("Set encoder_pooling to cls")
    # The keys of older versions.
    change(folder / "1_Pooling/config.json", pooling_mode=None, pooling_mode_cls_token=True)
    with pytest.raises(ConfigError, match=r"pools by cls"):
        check_encoder(config_of(folder))


@pytest.mark.parametrize("mode", ["max", "lasttoken", "weightedmean", ["cls", "mean"]])
def test_a_pooling_that_is_not_supported(make: Any, config_of: Any, mode: Any) -> None:
    folder = make()
    change(folder / "1_Pooling/config.json", pooling_mode=mode)
    named = mode if isinstance(mode, str) else "cls \\+ mean"
    with pytest.raises(WrongLayoutError, match=f"pools by {named}; supported are mean and cls"):
        check_encoder(config_of(folder))


def test_a_dense_layer_is_refused_also_by_the_transformers_own_folder(
    make: Any, config_of: Any, tiny: Any
) -> None:
    from sentence_transformers.base.modules import Dense

    folder = make("bert", "cls", more=[Dense(tiny.HIDDEN, tiny.HIDDEN)])
    with pytest.raises(WrongLayoutError, match="Dense would be left out"):
        check_encoder(config_of(folder))
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in (*folder.glob("*token*.json"), folder / "config.json"):
        path.rename(inner / path.name)
    parts = json.loads((folder / "modules.json").read_text())
    parts[0]["path"] = inner.name
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(WrongLayoutError, match="Dense would be left out"):
        check_encoder(config_of(inner))
    with pytest.raises(WrongLayoutError, match="in its folder 0_Transformer"):
        check_encoder(config_of(folder))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sentence_transformers.base.modules.router.Router", "Router would be left out"),
        ("sentence_transformers.sparse_encoder.modules.SpladePooling", "SpladePooling would be"),
        ("custom_st.Transformer", "code of their own: custom_st.Transformer"),
    ],
)
def test_other_modules_are_refused(make: Any, config_of: Any, kind: str, message: str) -> None:
    folder = make()
    parts = json.loads((folder / "modules.json").read_text())
    parts[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(WrongLayoutError, match=message):
        check_encoder(config_of(folder))


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Pooling/config.json", {"include_prompt": False}, "leaves the prompt out"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task"),
        ("sentence_bert_config.json", {"model_args": {"x": 1}}, "model_args"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "SparseEncoder"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}, "by dot"),
    ],
)
def test_settings_that_are_not_read_are_refused(
    make: Any, config_of: Any, file: str, values: Any, message: str
) -> None:
    folder = make()
    check_encoder(config_of(folder))
    change(folder / file, **values)
    with pytest.raises(WrongLayoutError, match=message):
        check_encoder(config_of(folder))


@pytest.mark.parametrize(
    ("prompts", "default", "message"),
    [
        ({"query": "q: ", "document": "passage: "}, None, "puts 'q: ' before each query"),
        ({"query": "query: "}, None, "puts '' before each document"),
        ({"query": "query: ", "passage": "d: "}, None, "puts 'd: ' before each document"),
        ({"task": "t: "}, "task", "puts 't: ' before each query"),
        ({}, None, "names no prompt for the role query"),
    ],
)
def test_prompts_must_be_the_folders(
    make: Any, config_of: Any, prompts: Any, default: Any, message: str
) -> None:
    folder = make()
    changes = {"prompts": prompts, "default_prompt_name": default}
    change(folder / "config_sentence_transformers.json", **changes)
    with pytest.raises(ConfigError, match=message):
        check_encoder(config_of(folder))


def test_without_prompts_of_its_own_the_stated_ones_count(make: Any, config_of: Any) -> None:
    folder = make()
    change(folder / "config_sentence_transformers.json", prompts={})
    check_encoder(config_of(folder, query_prompt="", document_prompt=""))


def test_the_token_limit_must_not_be_longer(make: Any, config_of: Any, tiny: Any) -> None:
    folder = make()
    check_encoder(config_of(folder, maximum_tokens=32))
    change(folder / "sentence_bert_config.json", max_seq_length=16)
    with pytest.raises(ConfigError, match="cuts texts after 16 tokens, the configuration after"):
        check_encoder(config_of(folder))
    change(folder / "sentence_bert_config.json", max_seq_length=None)
    with pytest.raises(ConfigError, match=f"after {tiny.MAXIMUM_TOKENS} tokens"):
        check_encoder(config_of(folder, maximum_tokens=tiny.MAXIMUM_TOKENS + 1))


def test_a_default_limit_below_the_folders_must_be_stated(make: Any, config_of: Any) -> None:
    folder = make()
    change(folder / "sentence_bert_config.json", max_seq_length=8192)
    config = config_of(folder, maximum_tokens=512)
    check_encoder(config)
    config.model_fields_set.discard("maximum_tokens")
    with pytest.raises(ConfigError, match="cuts texts after 8192 tokens"):
        check_encoder(config)


def test_another_tokenizer_is_refused(make: Any, config_of: Any) -> None:
    folder = make()
    path = folder / "tokenizer.json"
    other = folder / "other.json"
    values = json.loads(path.read_text()) | {"normalizer": {"type": "Lowercase"}}
    other.write_text(json.dumps(values))
    source = BackboneSource(location=f"folder:{folder}", format="tokenizer", file="other.json")
    with pytest.raises(ConfigError, match="into other tokens than"):
        check_encoder(config_of(folder, tokenizer=source))


def test_a_folder_that_says_nothing_is_taken(tiny: Any) -> None:
    check_encoder(tiny.config())


def test_a_cut_file_is_named(make: Any, config_of: Any) -> None:
    folder = make()
    (folder / "modules.json").write_text("[")
    with pytest.raises(WrongLayoutError, match=r"modules\.json can't be read"):
        check_encoder(config_of(folder))
