"""MTEB runs our models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def adapter() -> Any:
    pytest.importorskip("mteb", reason="the extra mteb is not installed")
    from lusifer_evaluation import mteb_adapter

    return mteb_adapter


class TestMteb:
    def test_the_papers_datasets(self, adapter: Any) -> None:
        # Rows of the paper's appendix, language by language.
        assert {language: len(names) for language, names in adapter.PAPER_TASKS.items()} == {
            "eng": 56, "spa": 19, "rus": 17, "fra": 25, "vie": 10, "fas": 6, "ind": 8,
            "ara": 7, "fin": 10, "kor": 13, "hin": 16, "ben": 12, "tel": 12, "swa": 8,
        }  # fmt: skip
        benchmark = adapter.paper_benchmark()
        names = {name for each in adapter.PAPER_TASKS.values() for name in each}
        assert {task.metadata.name for task in benchmark.tasks} == names

    def test_mteb_runs_a_local_task(self, adapter: Any, tmp_path: Path, write_module: Any) -> None:
        from datasets import Dataset, DatasetDict
        from mteb.abstasks.sts import AbsTaskSTS
        from mteb.abstasks.task_metadata import TaskMetadata

        class LocalSts(AbsTaskSTS):
            metadata = TaskMetadata(
                name="LocalSts",
                description="Sentence pairs that a test makes.",
                dataset={"path": "none/none", "revision": "1"},
                type="STS",
                category="t2t",
                eval_splits=["test"],
                eval_langs=["eng-Latn"],
                main_score="cosine_spearman",
                reference=None,
                date=None,
                domains=None,
                task_subtypes=None,
                license=None,
                annotations_creators=None,
                dialect=None,
                sample_creation=None,
                bibtex_citation="",
            )
            min_score, max_score = 0, 5

            def load_data(self, **options: Any) -> None:
                rows = {
                    "sentence1": ["0"] * 6,
                    "sentence2": [str(n) for n in range(6)],
                    "score": [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
                }
                self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
                self.data_loaded = True

        write_module(
            "angles",
            "import math\n"
            "def embed(texts, role):\n"
            "    return [[math.cos(int(t) / 4), math.sin(int(t) / 4)] for t in texts]\n",
        )
        found = adapter.run_mteb("mine=angles:embed", [LocalSts()], tmp_path / "results")
        assert found == {"LocalSts": pytest.approx(100)}
        assert list((tmp_path / "results").rglob("LocalSts.json"))

    def test_roles(self, adapter: Any) -> None:
        from mteb.types import PromptType

        class Echo:
            identity = "echo"

            def __call__(self, texts: list[str], role: str) -> np.ndarray:
                return np.array(
                    [[len(text), role == "document"] for text in texts], dtype=np.float32
                )

        encoder = adapter.MtebEncoder("lusifer/echo", embedder=Echo())
        batches = [{"text": ["a", "bb"]}, {"text": ["ccc"]}]
        for prompt_type, document in ((None, 0), (PromptType.query, 0), (PromptType.document, 1)):
            found = encoder.encode(
                batches,
                task_metadata=None,
                hf_split="test",
                hf_subset="default",
                prompt_type=prompt_type,
            )
            assert found.tolist() == [[1, document], [2, document], [3, document]]
