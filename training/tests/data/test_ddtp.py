"""Parallel sentences from the translations of Debian's descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lusifer_training.data.ddtp import write_parallel
from lusifer_training.errors import DataError
from lusifer_training.lens import load_parallel

if TYPE_CHECKING:
    from pathlib import Path


def test_translated_descriptions(tmp_path: Path) -> None:
    def translation(language: str, *texts: str) -> None:
        stanzas = [
            f"Package: p{n}\nDescription-md5: {n}\nDescription-{language}: {text}\n more\n"
            for n, text in enumerate(texts)
        ]
        name = f"host_i18n_Translation-{language.replace('_', '%5f')}"
        (tmp_path / name).write_text("\n".join(stanzas), encoding="utf-8")

    with pytest.raises(DataError, match="no translated descriptions"):
        write_parallel(tmp_path, tmp_path / "out.jsonl")
    translation("en", "an editor of images", "a reader of archives", "a game")
    translation("pt_BR", "um editor de imagens", "a reader of archives", "um jogo")
    assert write_parallel(tmp_path, tmp_path / "out.jsonl") == 1
    found = load_parallel(tmp_path / "out.jsonl")
    assert found == [("pt", "um editor de imagens", "an editor of images")]
