"""Tiny random backbones, shared by the tests of training, export and integration.

The heavy imports are inside the functions: the plugin's tests run without torch.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, seed, settings

# The same examples on every run, so that a change is judged by what it changes.
# `--hypothesis-profile=default` tries new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Weights come from tiny folders written here: nothing may reach for a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy

ENCODERS = ("bert", "xlm-roberta")
LLMS = ("llama", "mistral", "qwen2")
HIDDEN, LLM_HIDDEN, LLM_LAYERS, VOCABULARY, MAXIMUM_TOKENS = 32, 48, 4, 320, 64
SENTENCES = [
    "query: passage: The cat sits on the mat and the dog runs in the park.",
    "Wie packe ich ein Archiv aus? Die Katze sitzt auf der Matte.",
    "A library that reads and writes compressed archives of many formats.",
    "猫はマットの上に座っています。 Кошка сидит на коврике. القطة على السجادة",
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``make torture`` runs, which takes as long as it is given."""
    if os.environ.get("LUSIFER_TORTURE_S"):
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("torture")]


@pytest.fixture
def fuzz(
    request: pytest.FixtureRequest,
) -> Callable[[SearchStrategy[Any], Callable[[Any], None]], None]:
    """Return a function that tries examples of a strategy, for tests with the marker ``fuzz``.

    It tries a hundred, the same every time. ``LUSIFER_FUZZ_S`` gives seconds that all fuzz tests of
    the run share; each then goes on with new examples until its part is used up.
    """
    total_s = float(os.environ.get("LUSIFER_FUZZ_S", "0"))
    tests = sum(item.get_closest_marker("fuzz") is not None for item in request.session.items)
    draw = random.SystemRandom()

    def run(examples: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        end_s = time.monotonic() + total_s / max(1, tests)
        settings(deadline=None)(given(examples)(check))()
        new = settings(deadline=None, derandomize=False, max_examples=300, database=None)
        while time.monotonic() < end_s:
            seed(draw.getrandbits(64))(new(given(examples)(check)))()

    return run


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore logging: commands set it up on a stream that a test closes."""
    names = (
        None,
        "lusifer",
        "lusifer_training",
        "lusifer_evaluation",
        "lusifer_export",
        "uvicorn",
        "uvicorn.error",
    )
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


class Tiny:
    """Writes backbones of a few kilobytes once each, and configurations that name them."""

    ENCODERS, LLMS = ENCODERS, LLMS
    HIDDEN, LLM_HIDDEN, LLM_LAYERS = HIDDEN, LLM_HIDDEN, LLM_LAYERS
    VOCABULARY, MAXIMUM_TOKENS = VOCABULARY, MAXIMUM_TOKENS

    def __init__(self, root: Path) -> None:
        self.root = root

    def encoder_folder(self, kind: str) -> Path:
        """Write a random BERT or XLM-R without pooler: H 32, 2 layers."""
        from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

        settings: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "pad_token_id": 1,
            # Wide weights, so that attention is sharp and a wrong mask or position shows.
            "initializer_range": 0.3,
        }
        if kind == "bert":
            config = BertConfig(**settings, max_position_embeddings=MAXIMUM_TOKENS)
            return self._save(kind, lambda: BertModel(config, add_pooling_layer=False))
        config = XLMRobertaConfig(**settings, max_position_embeddings=MAXIMUM_TOKENS + 2)
        return self._save(kind, lambda: XLMRobertaModel(config, add_pooling_layer=False))

    def llm_folder(self, kind: str) -> Path:
        """Write a random Llama, Mistral or Qwen2 and its tokenizer: H 48, 4 layers, 4 heads."""
        from transformers import (
            LlamaConfig,
            LlamaForCausalLM,
            MistralConfig,
            MistralForCausalLM,
            PreTrainedTokenizerFast,
            Qwen2Config,
            Qwen2ForCausalLM,
        )

        if (self.root / kind).is_dir():
            return self.root / kind
        config_of, model_of = {
            "llama": (LlamaConfig, LlamaForCausalLM),
            "mistral": (MistralConfig, MistralForCausalLM),
            "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        }[kind]
        config = config_of(
            vocab_size=VOCABULARY,
            hidden_size=LLM_HIDDEN,
            num_hidden_layers=LLM_LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=1,
        )
        folder = self._save(kind, lambda: model_of(config))
        # Other merges than the encoder's, so that the two cut words differently.
        tokenizer = _bpe(["zzz the of archive archives format formats library"], 270)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
        ).save_pretrained(folder)
        return folder

    def tokenizer_file(self) -> Path:
        """Return the encoder's tokenizer: bytes with merges, <s> first and </s> last."""
        from tokenizers import processors

        path = self.root / "tokenizer" / "tokenizer.json"
        if not path.is_file():
            path.parent.mkdir()
            tokenizer = _bpe(SENTENCES, VOCABULARY)
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
            )
            tokenizer.save(str(path))
        return path

    def config(self, encoder: str = "bert", llm: str | None = "llama", **changes: Any) -> Any:
        """Return a configuration of two tiny backbones; residual, LoRA on both sides."""
        from lusifer_training.config import BackboneSource, LoraShape, ModelConfig

        def folder(path: Path) -> BackboneSource:
            return BackboneSource(location=f"folder:{path}", format="huggingface")

        values: dict[str, Any] = {
            "name": "tiny",
            "encoder": folder(self.encoder_folder(encoder)),
            "llm": folder(self.llm_folder(llm)) if llm else None,
            "tokenizer": BackboneSource(
                location=f"folder:{self.tokenizer_file().parent}",
                format="tokenizer",
                file="tokenizer.json",
            ),
            "llm_layers": 2,
            "connector_hidden": 24,
            "output_dimension": HIDDEN,
            "encoder_lora": LoraShape(rank=2, alpha=4, last_layers=1),
            "llm_lora": LoraShape(rank=2, alpha=4),
            "maximum_tokens": MAXIMUM_TOKENS,
        }
        return ModelConfig(**{**values, **changes})

    def model(self, config: Any = None, *, trained: bool = True, **options: Any) -> Any:
        """Return a model in eval mode; ``trained`` moves every trained parameter off its start."""
        import torch

        from lusifer_training.model.lusifer import build_model

        torch.manual_seed(1)
        model = build_model(config or self.config(), **options).eval()
        if trained:
            disturb(model)
        return model

    def checkpoint(self, folder: Path, config: Any = None) -> Path:
        """Save a model whose every part counts."""
        from lusifer_training.checkpoint import save_checkpoint

        return save_checkpoint(self.model(config), folder, {"steps": 0})

    def _save(self, name: str, build: Callable[[], Any]) -> Path:
        import torch

        folder = self.root / name
        if not folder.is_dir():
            with torch.random.fork_rng():
                torch.manual_seed(len(name))
                build().eval().save_pretrained(folder)
        return folder


def disturb(model: Any, *, seed: int = 2) -> None:
    """Move every trained parameter, as training would; at its start much does nothing."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=generator) * 0.2)
        if model.config.centre_share:
            model.centre = torch.randn(model.config.output_dimension, generator=generator) * 0.2
        if model.config.language_rank:
            model.language_basis = torch.linalg.qr(
                torch.randn(
                    model.config.output_dimension, model.config.language_rank, generator=generator
                )
            ).Q


def _bpe(texts: list[str], size: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return a maker of tiny backbones, configurations, models and checkpoints."""
    return Tiny(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="session")
def write_lines() -> Callable[[Path, list[Any]], Path]:
    """Return a function that writes JSON lines, packed where the name ends in ``.gz``."""

    def write(path: Path, records: list[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return path

    return write


class RunningService:
    """The vectorizer service behind a real uvicorn, in a thread of this process."""

    def __init__(self, app: Any) -> None:
        import socket
        import threading

        import httpx

        from lusifer.service.server import Server

        self.app = app
        self.service = app.state.service
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        # Patient, for slow machines, and never through a proxy.
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)
        self._socket.listen(2048)
        self._server = Server(app, app.state.service.settings)
        self.connections = self._server.connections
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 120) -> None:
        """Wait for something to become true."""
        import time

        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("it did not happen")
            time.sleep(0.005)

    def ready(self) -> RunningService:
        """Wait for the model to be loaded."""
        self.wait_until(lambda: self.service.not_ready_reason() is None)
        return self

    def exchange(self, request: bytes, *, drops: int = 0) -> tuple[int, dict[str, str], bytes]:
        """Send bytes on a connection of their own; returns status, headers and body of the answer.

        Args:
            request: Head and body.
            drops: At most this many spaces follow it, one every 50 ms, until the answer comes.
        """
        import http.client
        import select
        import socket

        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            connection.sendall(request)
            for _ in range(drops):
                if select.select([connection], [], [], 0.05)[0]:
                    break
                connection.sendall(b" ")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def stop(self) -> None:
        """Stop as SIGTERM would."""
        self._server.should_exit = True
        self._thread.join()
        self.http.close()


@pytest.fixture
def start_service() -> Iterator[Callable[..., RunningService]]:
    """Return a function that starts services; all are stopped after the test."""
    from lusifer.service.app import create_app
    from lusifer.service.settings import Settings

    started: list[RunningService] = []

    def start(vectorizer: Any, **settings: Any) -> RunningService:
        app = create_app(Settings(**{"canary": False, **settings}), vectorizer=vectorizer)
        started.append(RunningService(app))
        return started[-1]

    yield start
    for service in started:
        service.stop()
