"""The analyses: errors, oracles, needles, phases, pictures; each on an encoder whose mistakes are
known."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from training.tests.oracle import LANGUAGES, Oracle, write_data

from lusifer_evaluation import error_analysis
from lusifer_evaluation.layer_analysis import analyse_layers, meeting_site, site_states
from lusifer_evaluation.plots import layer_curves, map_of_sentences, report, score_pictures
from lusifer_evaluation.table import evaluate
from lusifer_evaluation.tasks import TextSet, XquadSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Words:
    """A bag of words: a text's vector is the sum of its words' vectors, whatever the language."""

    identity = "words"

    def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
        rows = []
        for text in texts:
            words = text.lower().replace(".", " ").replace("?", " ").split()
            rows.append(
                sum(np.random.default_rng(zlib.crc32(w.encode())).normal(size=256) for w in words)
            )
        vectors = np.stack(rows)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def parallel(count: int, languages: Sequence[str], articles: np.ndarray | None = None) -> XquadSet:
    """Paragraphs of three sentences; the second holds the answer, and the question its words."""
    questions = tuple(f"alpha{n} beta{n}?" for n in range(count))
    paragraphs = tuple(
        f"Gamma{n} delta{n}. Alpha{n} beta{n} epsilon{n}. Zeta{n} eta{n}." for n in range(count)
    )
    return XquadSet(
        {name: TextSet(name, "query", questions) for name in languages},
        {name: TextSet(name, "document", paragraphs) for name in languages},
        np.arange(count),
        np.arange(count) if articles is None else articles,
        {name: tuple(f"epsilon{n}" for n in range(count)) for name in languages},
    )


class TestXmrc:
    def test_ratios(self) -> None:
        assert error_analysis.ratios(
            {"en": {"en": 80.0, "de": 60.0}, "de": {"en": 40.0, "de": 80.0}}
        )["de"] == {
            "en": 0.5,
            "de": 1.0,
        }

    def test_every_first_hit_has_one_kind(self) -> None:
        eye = np.eye(8)
        data = parallel(4, ("de", "en"), articles=np.array([0, 0, 1, 2]))
        paragraphs = {"de": eye[:4], "en": eye[4:]}
        # Right, though in English; the article's other paragraph; another article in German; one in
        # English.
        questions = {"de": eye[[4, 0, 0, 6]], "en": eye[[4, 5, 6, 7]]}
        split = error_analysis.error_split(questions, paragraphs, data)
        assert split["de"] == {"right": 25.0, "near": 25.0, "language": 25.0, "content": 25.0}
        assert split["en"]["right"] == 100.0

    def test_sentences(self) -> None:
        assert error_analysis.sentences("One. Two! Three?") == ["One.", "Two!", "Three?"]
        assert error_analysis.sentences("これは本です。あれは？はい。") == [
            "これは本です。",
            "あれは？",
            "はい。",
        ]
        assert error_analysis.sentences("यह एक है। वह दो है।") == ["यह एक है।", "वह दो है।"]
        thai = "ประโยคแรกของย่อหน้านี้ยาวพอ และวลีที่สองก็ยาวพอเหมือนกัน กับวลีที่สามที่ยาวพอ"
        assert len(error_analysis.sentences(thai)) == 3

    def test_the_evidence_is_seen(self) -> None:
        data = parallel(12, ("de", "en"))
        found = error_analysis.evidence_oracle(Words(), data, [("de", "en")])["de", "en"]
        assert found["oracle"] == 100.0
        assert found["chance"] == pytest.approx(100 / 3)
        assert found["r1"] == 100.0

        class Deaf(Words):
            def __call__(self, texts: Sequence[str], role: str) -> np.ndarray:
                return super().__call__([f"{role} {len(text)}" for text in texts], role)

        deaf = error_analysis.evidence_oracle(Deaf(), data, [("de", "en")])["de", "en"]
        assert deaf["oracle"] < 70
        assert deaf["seen_but_missed"] < 70

    def test_what_has_no_value_is_none(self) -> None:
        assert error_analysis.ratios({"en": {"en": 0.0}}) == {"en": {"en": None}}
        # Every paragraph is found, so none is missed.
        found = error_analysis.evidence_oracle(Words(), parallel(12, ("de", "en")), [("de", "en")])[
            "de", "en"
        ]
        assert found["seen_but_missed"] is None

    def test_the_readout_oracle_mends_an_offset_and_a_rotation(self) -> None:
        rng = np.random.default_rng(0)
        points = rng.normal(size=(60, 24))
        rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
        noisy = {name: points + 0.05 * rng.normal(size=points.shape) for name in ("de", "en", "ja")}
        offset = {"de": 9.0, "en": 0.0, "ja": -9.0}

        def unit(each: np.ndarray) -> np.ndarray:
            return each / np.linalg.norm(each, axis=1, keepdims=True)

        moved = {name: unit(each + offset[name] * np.eye(24)[0]) for name, each in noisy.items()}
        turned = {
            name: unit(each @ rotation if name == "de" else each) for name, each in noisy.items()
        }
        data = parallel(60, ("de", "en", "ja"), articles=np.arange(60) // 3)
        found = error_analysis.readout_oracle(moved, moved, data)
        assert found["raw"]["map"] < 70
        assert found["demean"]["map"] > 95
        assert found["project"]["map"] > 95
        found = error_analysis.readout_oracle(turned, turned, data)
        assert found["raw"]["different"] < 60
        assert found["procrustes"]["different"] > 95

    def test_the_needle_grid(self) -> None:
        rows = error_analysis.needle_grid(
            Words(), parallel(8, ("de", "en")), ["de", "en"], distractors=2
        )
        # Two needles alone, and with two kinds of hay at three places, for questions of two
        # languages.
        assert len(rows) == 2 * (2 + 2 * 2 * 3)
        assert {row["position"] for row in rows} == {"alone", "start", "middle", "end"}
        assert {row["r1"] for row in rows} == {100.0}
        with_hay = error_analysis.needle_grid(
            Words(), parallel(8, ("de", "en")), ["de"], distractors=3
        )
        assert len(with_hay) == 4


class TestPhases:
    def test_where_languages_meet(self) -> None:
        rng = np.random.default_rng(0)
        meaning = rng.normal(size=(40, 16))
        # Room for the languages' own directions.
        meaning[:, :3] = 0

        def states(noise: float, offset: float) -> dict[str, np.ndarray]:
            return {
                name: meaning + noise * rng.normal(size=meaning.shape) + offset * np.eye(16)[number]
                for number, name in enumerate(("en", "de", "ja"))
            }

        found = analyse_layers(
            {"apart": states(5, 0), "offset": states(0.1, 9), "together": states(0.1, 0)}
        )
        apart, offset, together = found.sites
        assert apart.mexa < 0.2 < 0.95 < together.mexa
        assert offset.r1 > 0.95
        assert together.r1 == 1.0
        assert offset.r1_mixed < 0.1
        assert together.r1_mixed == 1.0
        assert offset.language > 0.95
        assert together.language < 0.6
        assert offset.random_cosine > together.random_cosine
        assert 1 < offset.rank < together.rank <= 16
        assert found.meeting == {"de": 1, "ja": 1}
        assert all(spread < 0.5 for spread in found.meeting_spread.values())

    def test_meeting_site(self) -> None:
        assert meeting_site(np.array([0.0, 0.5, 0.92, 1.0, 0.3])) == 2

    @pytest.mark.parametrize("llm", ["llama", None])
    def test_every_site_of_a_checkpoint(self, tiny: Any, tmp_path: Path, llm: str | None) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(llm=llm, language_rank=2))
        texts = {
            "en": ["The cat sits.", "An archive of the dog."],
            "de": ["Die Katze sitzt.", "Ein Archiv."],
        }
        states = site_states(checkpoint, texts)
        inside = ["connector", "llm 1", "llm 2", "llm out"] if llm else []
        assert list(states) == [
            "encoder 0",
            "encoder 1",
            "encoder 2",
            *inside,
            "output",
            "projected",
        ]
        assert states["encoder 0"]["de"].shape == (2, tiny.HIDDEN)
        from lusifer_training.embedders import checkpoint_embedder

        for site, projected in (("output", False), ("projected", True)):
            expected = checkpoint_embedder(checkpoint, projected=projected)(texts["de"], "query")
            np.testing.assert_allclose(states[site]["de"], expected, atol=1e-5)


class TestPictures:
    def test_one_page_holds_everything(self, tmp_path: Path, write_lines: Any) -> None:
        data = write_data(tmp_path / "data", write_lines)
        scores = {
            name: evaluate(
                embedder,
                data_folder=data,
                cache_folder=tmp_path / "cache",
                tasks=["xquad", "tatoeba"],
            )
            for name, embedder in (("raw", Oracle(2.0)), ("<b>", Oracle()))
        }
        pictures = score_pictures(scores)
        assert set(pictures) == {"xquad-raw", "xquad--b-", "languages-tatoeba", "tasks"}
        page = report(pictures, scores, tmp_path / "plots").read_text(encoding="utf-8")
        assert page.count("data:image/png;base64,") == len(pictures)
        assert 'src="http' not in page
        assert "&lt;b&gt;" in page
        assert "Mixed pool mAP" in page
        assert all((tmp_path / "plots" / f"{name}.png").stat().st_size > 5000 for name in pictures)

    def test_the_other_figures(self) -> None:
        rng = np.random.default_rng(0)
        vectors = {language: rng.normal(size=(12, 8)) for language in LANGUAGES}
        figure = map_of_sentences(vectors, ["art", "law"] * 6, "oracle")
        assert [axes.get_title() for axes in figure.axes] == [
            "oracle, by language",
            "oracle, by topic",
        ]
        found = analyse_layers({"one": vectors, "two": vectors})
        axes = layer_curves(found).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]


class TestCommands:
    @pytest.fixture
    def run(self, tmp_path: Path, write_lines: Any) -> Any:
        from typer.testing import CliRunner

        from lusifer_evaluation.cli import eval_app

        data = write_data(tmp_path / "data", write_lines)

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(eval_app, [*arguments, "--data", str(data)])
            assert result.exit_code == 0, result.output
            return result.stdout

        return run

    def test_table(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c", tiny.config(language_rank=2))
        arguments = (
            "table",
            f"mine={checkpoint}",
            f"plain=unprojected:{checkpoint}",
            "--cache",
            str(tmp_path / "k"),
        )
        found = json.loads(run(*arguments, "--task", "xquad", "--json"))
        assert list(found) == ["mine", "plain"]
        value = found["plain"]["measures"]["pool.map"]
        assert value["interval_95"][0] <= value["value"] <= value["interval_95"][1]
        assert run(*arguments, "--task", "xquad").startswith("| | mine | plain |")

    def test_pictures_of_a_table(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        options = (
            "--cache",
            str(tmp_path / "k"),
            "--task",
            "xquad",
            "--plots",
            str(tmp_path / "plots"),
        )
        run("table", f"mine={checkpoint}", *options)
        names = {path.name for path in (tmp_path / "plots").iterdir()}
        assert names == {
            "report.html",
            "xquad-mine.png",
            "tasks.png",
            "map-mine.png",
            "layers-mine.png",
        }

    def test_xmrc(self, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "their_model.py").write_text(
            "import zlib\nimport numpy as np\n"
            "def embed(texts, role):\n"
            "    return [np.random.default_rng(zlib.crc32(t.encode())).normal(size=8) for t in texts]\n",
            encoding="utf-8",
        )
        command = ("xmrc", "their_model:embed", "--cache", str(tmp_path / "k"), "--pair", "de-en")
        found = json.loads(run(*command, "--json"), parse_constant=pytest.fail)
        assert set(found) == {"ratios", "error_split", "readout_oracle", "evidence_oracle"}
        # No answer of these sets lies in one of several sentences.
        assert found["evidence_oracle"]["de-en"]["oracle"] is None
        assert "| de-en | – |" in run(*command)

    def test_phases(self, run: Any, tiny: Any, tmp_path: Path) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        found = json.loads(
            run(
                "phases",
                str(checkpoint),
                "--sentences",
                "10",
                "--plot",
                str(tmp_path / "p.png"),
                "--json",
            )
        )
        assert set(found["meeting"]) == {"de", "ja"}
        assert (tmp_path / "p.png").stat().st_size > 5000

    def test_subspace(self, run: Any, tiny: Any, tmp_path: Path, write_lines: Any) -> None:
        checkpoint = tiny.checkpoint(tmp_path / "c")
        records = [
            {"language": name, "text": f"{name} {n}"} for name in LANGUAGES for n in range(20)
        ]
        texts = write_lines(tmp_path / "m.jsonl", records)
        options = (
            "--texts",
            str(texts),
            "--ranks",
            "1,2,40",
            "--cache",
            str(tmp_path / "k" / "eval"),
        )
        assert list(json.loads(run("subspace", str(checkpoint), *options, "--json"))) == [
            "raw",
            "de-meaned",
            "r = 1",
            "r = 2",
        ]
