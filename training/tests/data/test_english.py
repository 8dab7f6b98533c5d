"""English texts for the centre: the Brown corpus and files of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lusifer_training.data.english import brown_sentences, english_file, load_english, write_english
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (
    "\n\n\tThe/at dog/nn of/in ``/`` Fulton/np ''/'' barked/vbd ./.\n\n"
    "\tWho/wps let/vbd it/ppo (/( the/at dog/nn )/) out/rp ?/.\n\n\tOh/uh !/.\n"
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("ca01", "cr09"):
        (folder / name).write_text(PAGE, encoding="latin-1")
    (folder / "README").write_text("no text", encoding="latin-1")
    return folder


def test_tags_and_short_sentences_are_removed(corpus: Path) -> None:
    dog, who = 'The dog of "Fulton" barked.', "Who let it (the dog) out?"
    assert sorted(brown_sentences(corpus)) == [dog, dog, who, who]
    assert brown_sentences(corpus) == brown_sentences(corpus)


def test_the_file_is_read_as_it_was_written(corpus: Path, tmp_path: Path) -> None:
    path = write_english(corpus, tmp_path / "english.jsonl")
    # It is downloaded once.
    assert english_file(tmp_path) == path
    path.write_text(path.read_text() * 5)
    sentences = brown_sentences(corpus) * 5
    assert load_english(path) == {("brown", "query"): sentences, ("brown", "document"): sentences}


def test_a_text_without_a_role_is_read_in_both(tmp_path: Path, write_lines: Any) -> None:
    records = [{"text": str(n)} for n in range(19)] + [{"text": "a", "role": "query"}]
    path = write_lines(tmp_path / "e.jsonl", records)
    found = load_english(path)
    assert {key: len(texts) for key, texts in found.items()} == {
        ("", "query"): 20,
        ("", "document"): 19,
    }
    write_lines(path, records[:-1])
    with pytest.raises(DataError, match="19 texts, at least 20"):
        load_english(path)
    write_lines(path, [*records, {"text": "b", "role": "passage"}])
    with pytest.raises(DataError, match=r"text 21: role is 'passage'\. Write query or document"):
        load_english(path)


def test_a_program_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="no npm") as caught:
        english_file(tmp_path / "cache")
    assert "--english" in caught.value.next_step
    assert not (tmp_path / "cache" / "english.jsonl").exists()
