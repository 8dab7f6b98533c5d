from __future__ import annotations

from typing import Any

from lusifer_export.cases import gate_rows, parity_texts, translations
from lusifer_training.backbones.load import load_tokenizer


def test_texts() -> None:
    texts = parity_texts()
    everything = [text for each in texts.values() for text in each]
    assert len(everything) >= 200
    assert len(texts) >= 18
    assert all(text.strip() for text in everything)
    assert min(map(len, everything)) < 20
    assert max(map(len, everything)) > 1500
    assert all(len(each) >= 10 for each in texts.values())


def test_translations() -> None:
    texts = translations()
    assert set(texts) == set(parity_texts())
    assert {len(each) for each in texts.values()} == {24}
    assert all(len(set(each)) == 24 for each in texts.values())


def test_rows_meet_every_edge_of_the_limit(tiny: Any) -> None:
    rows = gate_rows(
        load_tokenizer(tiny.config().tokenizer), {"query": "query: ", "document": "d: "}, 64
    )
    lengths = {row.case: len(row.ids) for row in rows if row.case}
    assert lengths["one token below the limit"] == 63
    assert lengths["one token above the limit"] == lengths["long, cut at the limit"] == 64
    assert lengths["short"] < 16
    assert max(len(row.ids) for row in rows) == 64
    # The last special token survives every cut; the first token is the special one too.
    assert {row.ids[-1] for row in rows if row.case != "one token above the limit"} == {2}
    assert {row.ids[0] for row in rows} == {0}
    for language in translations():
        of = [row for row in rows if row.language == language and row.article is not None]
        assert {row.role for row in of} == {"query", "document"}
        assert len(of) == 48
