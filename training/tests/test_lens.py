"""Stage 3: each loss by hand, training of the chosen parts only, and resume after a kill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lusifer_training.checkpoint import load_checkpoint, read_adapter
from lusifer_training.config import validated
from lusifer_training.embedders import checkpoint_embedder
from lusifer_training.errors import ConfigError, DataError
from lusifer_training.lens import LensObjective, LensRecipe, load_parallel, train_lens

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = [
    ("de", "Die Katze sitzt auf der Matte.", "The cat sits on the mat."),
    ("ja", "猫はマットの上に座っています。", "The cat sits on the mat of the park."),
    ("ru", "Кошка сидит на коврике.", "A library that reads and writes archives."),
    ("de", "Wie packe ich ein Archiv aus?", "How do I unpack an archive?"),
]


class Vectors:
    """Stands for a model whose vectors are given; two of them play student and teacher."""

    def __init__(self, foreign: torch.Tensor, english: torch.Tensor) -> None:
        self.rows = normalize(torch.cat([foreign, english]), dim=-1)


def losses(student: Vectors, teacher: Vectors, **weights: float) -> dict[str, torch.Tensor]:
    basis = torch.zeros(8, 1)
    basis[0] = 1
    direction = torch.zeros(8)
    direction[0] = 0.5
    objective = LensObjective(
        student,  # type: ignore[arg-type]
        teacher,  # type: ignore[arg-type]
        basis,
        {"de": direction, "ja": direction, "ru": direction},
        LensRecipe(**weights),
        lambda which, texts: which.rows,  # type: ignore[attr-defined]
    )
    return objective(PAIRS)


class TestObjective:
    MEANING = torch.eye(8)[1:5]
    ACCENT = torch.eye(8)[0]

    def test_what_differs_by_language_alone_costs_nothing(self) -> None:
        teacher = Vectors(self.MEANING, self.MEANING)
        aligned = losses(Vectors(self.MEANING + self.ACCENT, self.MEANING), teacher)["align"]
        swapped = losses(Vectors(self.MEANING.flip(0) + self.ACCENT, self.MEANING), teacher)[
            "align"
        ]
        assert aligned < 1e-3
        assert swapped > 5

    def test_english_is_kept(self) -> None:
        teacher = Vectors(self.MEANING, self.MEANING)
        assert losses(teacher, teacher)["retain"] == pytest.approx(0, abs=1e-6)
        moved = Vectors(self.MEANING, self.MEANING + 0.5 * self.ACCENT)
        assert losses(moved, teacher)["retain"] > 0.05

    def test_the_push_wants_languages_apart(self) -> None:
        teacher = Vectors(self.MEANING, self.MEANING)
        assert "push" not in losses(teacher, teacher)
        still = losses(teacher, teacher, push_weight=1.0)
        # Unit vectors whose first number is 0.5.
        pushed = Vectors(self.MEANING * np.sqrt(0.75) + 0.5 * self.ACCENT, self.MEANING)
        assert losses(pushed, teacher, push_weight=1.0)["push"] < 1e-6 < still["push"]
        assert still["loss"] > losses(teacher, teacher)["loss"]

    def test_weights(self) -> None:
        student = Vectors(self.MEANING.flip(0), self.MEANING + 0.3)
        teacher = Vectors(self.MEANING, self.MEANING)
        found = losses(student, teacher, align_weight=2.0, retain_weight=3.0)
        assert found["loss"] == pytest.approx(
            float(2 * found["align"] + 3 * found["retain"]), rel=1e-5
        )


class TestTraining:
    @pytest.fixture
    def checkpoint(self, tiny: Any, tmp_path: Path) -> Path:
        return tiny.checkpoint(tmp_path / "c")

    def train(self, tiny: Any, checkpoint: Path, run: Path, **options: Any) -> Path:
        recipe = {"steps": 12, "batch_pairs": 4, "learning_rate": 1e-2, **options.pop("recipe", {})}
        basis = torch.linalg.qr(
            torch.randn(tiny.HIDDEN, 2, generator=torch.Generator().manual_seed(3))
        ).Q
        return train_lens(
            checkpoint,
            run / "checkpoint",
            PAIRS,
            validated(LensRecipe, recipe, where="test"),
            basis=basis,
            run_folder=run / "lens",
            **options,
        )

    def test_languages_come_nearer_and_english_stays(
        self, tiny: Any, checkpoint: Path, tmp_path: Path
    ) -> None:
        target = self.train(tiny, checkpoint, tmp_path / "run")
        foreign, english = [text for _, text, _ in PAIRS], [text for *_, text in PAIRS]
        nearness, kept = [], checkpoint_embedder(checkpoint)(english, "query")
        for folder in (checkpoint, target):
            embed = checkpoint_embedder(folder, projected=False)
            nearness.append((embed(foreign, "query") * kept).sum(axis=1).mean())
        assert 1 - nearness[1] < 0.7 * (1 - nearness[0])
        after = checkpoint_embedder(target, projected=False)(english, "query")
        assert (after * kept).sum(axis=1).mean() > 0.9
        assert load_checkpoint(target).config.language_rank == 2
        report = json.loads((target / "training_report.json").read_text(encoding="utf-8"))["lens"]
        assert report["languages"] == ["de", "ja", "ru"]
        assert report["last_loss"] < report["first_loss"]

    @pytest.mark.parametrize(
        ("part", "prefixes"), [("head", ("head.",)), ("llm", ("head.", "connector.", "llm."))]
    )
    def test_only_the_chosen_part_moves(
        self, tiny: Any, checkpoint: Path, tmp_path: Path, part: str, prefixes: tuple[str, ...]
    ) -> None:
        target = self.train(tiny, checkpoint, tmp_path / "run", recipe={"train": part, "steps": 2})
        before, after = read_adapter(checkpoint), read_adapter(target)
        assert after.keys() == before.keys() | {"language_basis"}
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved
        assert all(name.startswith(prefixes) for name in moved)

    def test_replay_is_added(self, tiny: Any, checkpoint: Path, tmp_path: Path) -> None:
        steps: list[int] = []

        def replay(model: Any, step: int) -> torch.Tensor:
            steps.append(step)
            return model.head.weight.pow(2).sum()

        self.train(tiny, checkpoint, tmp_path / "run", recipe={"steps": 3}, replay=replay)
        assert steps == [0, 1, 2]
        lines = (
            (tmp_path / "run" / "lens" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        )
        assert all(json.loads(line)["replay"] > 0 for line in lines)

    def test_a_push_without_directions(self, tiny: Any, checkpoint: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no direction for de, ja, ru"):
            self.train(tiny, checkpoint, tmp_path / "run", recipe={"push_weight": 1.0})

    def test_the_command(
        self, tiny: Any, checkpoint: Path, tmp_path: Path, write_lines: Any
    ) -> None:
        from typer.testing import CliRunner

        from lusifer_training.checkpoint import with_geometry
        from lusifer_training.cli import train_app
        from lusifer_training.geometry import Geometry
        from lusifer_training.language_subspace import LanguageIdentifier

        basis = np.eye(tiny.HIDDEN, 3, dtype=np.float32)
        centroids = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        identifier = LanguageIdentifier(
            basis, ("de", "en", "ja", "ru"), {"query": centroids, "document": centroids}
        )
        centre = np.full(tiny.HIDDEN, 0.1, dtype=np.float32)
        with_geometry(checkpoint, checkpoint, Geometry(centre, 0.5, basis), identifier, {})
        records = [
            {"language": language, "text": text, "english": english}
            for language, text, english in PAIRS
        ]
        pairs = write_lines(tmp_path / "p.jsonl", records)
        arguments = [
            "lens",
            str(checkpoint),
            str(tmp_path / "out"),
            "--pairs",
            str(pairs),
            "--steps",
            "2",
        ]
        arguments += ["--run", str(tmp_path / "run"), "--batch-pairs", "2", "--push-weight", "0.5"]
        result = CliRunner().invoke(train_app, arguments)
        assert result.exit_code == 0, result.output
        written = load_checkpoint(tmp_path / "out")
        assert written.config.language_rank == 3
        # The geometry is not trained, and is as it was.
        assert written.config.centre_share == 0.5
        np.testing.assert_array_equal(written.centre.numpy(), centre)
        line = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]
        assert json.loads(line)["push"] > 0
        # Stage 3 moved the vectors, and the side vector with them: it has to be found again.
        assert not (tmp_path / "out" / "language_centroids.safetensors").exists()

    def test_parallel_texts(self, tmp_path: Path, write_lines: Any) -> None:
        records = [
            {"language": language, "text": f"{language} {n}", "english": f"en {n}"}
            for language in ("de", "ja")
            for n in range(10)
        ]
        path = write_lines(tmp_path / "p.jsonl", records)
        pairs = load_parallel(path, maximum_per_language=4)
        assert [language for language, *_ in pairs] == ["de"] * 4 + ["ja"] * 4
        assert load_parallel(path, maximum_per_language=4) == pairs
        with pytest.raises(DataError, match="no sentence pairs"):
            load_parallel(write_lines(tmp_path / "empty.jsonl", []))
