"""Translation pairs of the evaluation data, and the accuracy of retrieving them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer_training.data import translations
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def test_pairs_by_language(tmp_path: Path, write_lines: Any) -> None:
    lines = [{"text": f"Wort {n}", "english": f"word {n}"} for n in range(5)]
    write_lines(tmp_path / "eval" / "tatoeba" / "deu.jsonl.gz", lines)
    found = translations.load_translations(tmp_path)
    assert list(found) == ["deu"]
    assert found["deu"].texts == ("Wort 0", "Wort 1", "Wort 2", "Wort 3", "Wort 4")
    assert found["deu"].english[3] == "word 3"
    assert len(translations.load_translations(tmp_path, 2)["deu"].texts) == 2


def test_a_line_separator_inside_a_text_is_text(tmp_path: Path, write_lines: Any) -> None:
    lines = [{"text": "eins\u2028zwei", "english": "one\u2028two"}]
    write_lines(tmp_path / "eval" / "tatoeba" / "deu.jsonl.gz", lines)
    assert translations.load_translations(tmp_path)["deu"].texts == ("eins\u2028zwei",)


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no evaluation data in .*xquad"):
        translations.evaluation_files(tmp_path / "eval" / "xquad")


def test_the_language_is_the_first_part_of_the_name(tmp_path: Path) -> None:
    assert translations.language_of(tmp_path / "eng_Latn.test.jsonl.gz") == "eng_Latn"


def test_hits_by_hand() -> None:
    english = np.array([[1.0, 0.0], [0.8, 0.6]], dtype=np.float32)
    texts = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    # Forward both find row 0, back both columns find row 0: the first pair twice, the second never.
    assert translations.bitext_hits(texts, english).tolist() == [1.0, 0.0]
    # Forward rows 0 and 1 find column 0; back column 1 finds row 1.
    texts = np.array([[1.0, 0.0], [0.8, 0.6]], dtype=np.float32)
    english = np.array([[1.0, 0.0], [0.0, 0.9]], dtype=np.float32)
    assert translations.bitext_hits(texts, english).tolist() == [1.0, 0.5]


def test_a_larger_sample_holds_the_smaller_one() -> None:
    assert translations.sample(5, None) == translations.sample(5, 9) == [0, 1, 2, 3, 4]
    assert set(translations.sample(100, 10)) < set(translations.sample(100, 30)) < set(range(100))
    assert translations.sample(100, 10) == sorted(translations.sample(100, 10))
