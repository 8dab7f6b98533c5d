"""The default model on real text: right in every language, one vector per text, as the checkpoint
says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from integration_tests.noise import FLIPPED, assert_same_vectors

from lusifer.bundle.format import Bundle
from lusifer_export.fingerprint import checkpoint_fingerprint
from lusifer_export.gate import BARS
from lusifer_training.config import default_checkpoint
from lusifer_training.embedders import checkpoint_embedder

if TYPE_CHECKING:
    from lusifer.embedding.vectorizer import Vectorizer

COMMAND = [str(Path(sys.executable).with_name("lusifer"))]

# Each question and the one answer among DOCUMENTS, both written for this test.
DOCUMENTS = (
    "Bees make honey from the nectar that they gather in flowers.",
    "The train to the airport leaves every twenty minutes from platform four.",
    "Boil the potatoes for twenty minutes and mash them with butter and milk.",
    "The bank raised its interest rates for the third time this year.",
    "Wash small wounds with clean water and cover them with a plaster.",
)
QUESTIONS = {
    "de": ("Wie entsteht Honig?", 0),
    "fr": ("À quelle heure part le train pour l'aéroport ?", 1),
    "es": ("¿Cómo se prepara el puré de patatas?", 2),
    "ru": ("Банк повысил процентные ставки", 3),
    "ar": ("كيف أعالج جرحا صغيرا؟", 4),
    "hi": ("शहद कैसे बनता है?", 0),
    "ja": ("空港行きの電車はいつ出ますか？", 1),
    "ko": ("으깬 감자는 어떻게 만드나요?", 2),
    "zh": ("银行提高了利率", 3),
    "vi": ("Làm thế nào để rửa vết thương nhỏ?", 4),
    "sw": ("Nyuki hutengenezaje asali?", 0),
    "fi": ("Milloin juna lentokentälle lähtee?", 1),
}


@pytest.mark.parametrize("language", QUESTIONS)
def test_question_finds_its_english_answer(vectorizer: Vectorizer, language: str) -> None:
    question, answer = QUESTIONS[language]
    scores = vectorizer.embed_documents(DOCUMENTS).vectors @ vectorizer.embed_query(question).vector
    assert int(scores.argmax()) == answer


def test_one_text_has_one_vector(vectorizer: Vectorizer) -> None:
    texts = [*DOCUMENTS, *(question for question, _ in QUESTIONS.values()), "word " * 700]
    together = vectorizer.embed_documents(texts).vectors
    alone = np.stack([vectorizer.embed_documents([text]).vectors[0] for text in texts])
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = vectorizer.embed_documents([texts[index] for index in order]).vectors
    assert_same_vectors(together, alone)
    assert_same_vectors(together[order], shuffled)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_bundle_answers_what_the_checkpoint_answers(vectorizer: Vectorizer) -> None:
    texts = [question for question, _ in QUESTIONS.values()]
    reference = checkpoint_embedder(default_checkpoint())(texts, "query")
    ours = np.stack([vectorizer.embed_query(text).vector for text in texts])
    assert (ours * reference).sum(axis=1).min() > BARS["int8-dynamic"].worst


def test_bundle_says_what_it_is(real_bundle: Path) -> None:
    bundle = Bundle.open(real_bundle)
    report = json.loads((real_bundle / "parity_report.json").read_text(encoding="utf-8"))
    assert bundle.manifest.fingerprint == checkpoint_fingerprint(
        default_checkpoint(), "int8-dynamic"
    )
    assert report["texts"] >= 200
    assert len(report["languages"]) >= 18
    assert (report["verdict"], bundle.manifest.gate) == ("passed", "passed")
    assert report["mean"] >= BARS["int8-dynamic"].mean
    assert report["alone_against_batch"] < FLIPPED


@pytest.mark.usefixtures("real_bundle")
def test_default_bundle_is_found_without_pytorch() -> None:
    """Every command without --bundle asks for it; PyTorch takes seconds to import."""
    code = "import sys, lusifer.bundle.default as d; print(d.default_bundle()); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_default_checkpoint_is_small_and_complete() -> None:
    folder = default_checkpoint()
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "adapter.safetensors",
        "language_centroids.safetensors",
        "training_report.json",
    }
    assert (folder / "adapter.safetensors").stat().st_size <= 16 * 2**20


def test_command_embeds_a_file_in_order(
    real_bundle: Path, vectorizer: Vectorizer, tmp_path: Path
) -> None:
    texts = [question for question, _ in QUESTIONS.values()]
    (tmp_path / "questions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    command = [*COMMAND, "embed", "--json", "--role", "query", "--bundle", str(real_bundle)]
    answer = subprocess.run(
        [*command, "--input", str(tmp_path / "questions.txt")], capture_output=True, check=True
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [set(line) for line in lines] == [{"embedding", "tokens", "truncated"}] * len(texts)
    expected = [vectorizer.embed_query(text).vector for text in texts]
    assert_same_vectors([line["embedding"] for line in lines], expected)


def test_commands_index_and_search(real_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "documents.jsonl"
    records = [{"id": str(number), "text": text} for number, text in enumerate(DOCUMENTS)]
    source.write_text("\n".join(json.dumps(record) for record in records) + "\n", encoding="utf-8")
    index = ["--index", str(tmp_path / "index"), "--bundle", str(real_bundle)]
    first = subprocess.run(
        [*COMMAND, "index", str(source), *index, "--json"], capture_output=True, check=True
    )
    again = subprocess.run(
        [*COMMAND, "index", str(source), *index, "--json"], capture_output=True, check=True
    )
    assert json.loads(first.stdout)["added"] == len(DOCUMENTS)
    assert json.loads(again.stdout)["added"] == 0
    question, expected = QUESTIONS["ja"]
    found = subprocess.run(
        [*COMMAND, "search", question, *index, "--json", "--limit", "2"],
        capture_output=True,
        check=True,
    )
    hits = [json.loads(line) for line in found.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert hits[0]["id"] == str(expected)
    assert hits[0]["text"] == DOCUMENTS[expected]
    assert hits[0]["score"] >= hits[1]["score"]


def test_info_names_model_and_versions(real_bundle: Path) -> None:
    answer = subprocess.run(
        [*COMMAND, "info", "--json", "--bundle", str(real_bundle)], capture_output=True, check=True
    )
    info = json.loads(answer.stdout)
    assert info["model"] == "lusifer-small"
    assert info["dimension"] == 384
    assert info["bundle"] == str(real_bundle)
    assert info["fingerprint"].startswith("sha256:")
    assert {"lusifer", "python", "onnxruntime"} <= set(info["versions"])
