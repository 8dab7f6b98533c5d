"""Six documents on a circle, by degrees, in two languages; the two nearest count instead of ten.

========  ===  ===  ===  ===  ===  ===
key       a    b    c    d    e    f
language  en   en   de   en   de   de
old       0    10   21   90   100  111
new       0    21   90   10   100  111
========  ===  ===  ===  ===  ===  ===
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.reindex.memory import MemoryEndpoint, memory_migration
from plugin.tests.reindex.support import TextEmbedder

from lusifer.reindex.gate_queries import GateQuery
from lusifer.reindex.plan import GateLimits
from lusifer.reindex.quality_gate import GateOptions, LanguageResult, failures, measure
from lusifer.types import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lusifer.reindex.endpoints.base import AnyMigration

LANGUAGES = {"a": "en", "b": "en", "c": "de", "d": "en", "e": "de", "f": "de"}
OLD = {"a": 0, "b": 10, "c": 21, "d": 90, "e": 100, "f": 111}
NEW = {"a": 0, "b": 21, "c": 90, "d": 10, "e": 100, "f": 111}


def on_circle(degrees: float) -> NDArray[np.float32]:
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


class Circle(TextEmbedder):
    """Places every query where the old model has the document that it names."""

    def vector(self, text: str) -> NDArray[np.float32]:
        return on_circle(OLD[text.removeprefix("about ")])


MODEL = Circle(1, dimension=2)


@pytest.fixture
def migration(monkeypatch: pytest.MonkeyPatch) -> AnyMigration:
    monkeypatch.setattr("lusifer.reindex.quality_gate._NEIGHBOURS", 2)
    source, target, migration = memory_migration()
    for key, language in LANGUAGES.items():
        document = Document(key, f"text of {key}", {"lang": language, "title": f"about {key}"})
        source.put(document, on_circle(OLD[key]))
        target.put(document, on_circle(NEW[key]))
    return migration


def test_recall_overlap_and_bias_by_language(migration: AnyMigration) -> None:
    result = measure(migration, MODEL, GateLimits(), GateOptions(old=MODEL))
    assert result.languages == {
        "de": LanguageResult(
            questions=3, recall_old=1.0, recall_new=0.6667, overlap=0.3333, bias_old=0.3333, bias_new=1.0,
            hub_old=0.0, hub_new=0.3333,
        ),
        "en": LanguageResult(
            questions=3, recall_old=1.0, recall_new=0.3333, overlap=0.3333, bias_old=0.3333, bias_new=1.0,
            hub_old=0.0, hub_new=0.3333,
        ),
    }  # fmt: skip
    # Three queries are fewer than the ten that decide.
    assert result.failures == ()
    assert result.passed


def test_every_limit_has_its_sentence(migration: AnyMigration) -> None:
    limits = GateLimits(minimum_questions=3, minimum_overlap=0.34)
    result = measure(migration, MODEL, limits, GateOptions(old=MODEL))
    assert not result.passed
    assert result.failures == (
        "de: recall@10 falls from 1.00 to 0.67, by more than 0.05.",
        "de: 0.33 of the nearest are the same, required is 0.34.",
        "de: 1.00 of the neighbours are in the same language, before 0.33; allowed are 0.10 more.",
        "en: recall@10 is 0.33, required is 0.50.",
        "en: recall@10 falls from 1.00 to 0.33, by more than 0.05.",
        "en: 0.33 of the nearest are the same, required is 0.34.",
        "en: 1.00 of the neighbours are in the same language, before 0.33; allowed are 0.10 more.",
    )


def test_without_the_old_model_recall_has_nothing_to_fall_from(migration: AnyMigration) -> None:
    limits = GateLimits(minimum_questions=3, minimum_recall=0.6, maximum_bias_gain=1)
    result = measure(migration, MODEL, limits)
    assert {name: each.recall_old for name, each in result.languages.items()} == {
        "de": None,
        "en": None,
    }
    assert result.failures == ("en: recall@10 is 0.33, required is 0.60.",)


def test_a_file_as_source_leaves_recall_and_the_new_bias(migration: AnyMigration) -> None:
    object.__setattr__(migration, "searchable", False)
    result = measure(migration, MODEL, GateLimits(minimum_questions=3), GateOptions(old=MODEL))
    assert result.languages["de"] == LanguageResult(
        questions=3, recall_old=None, recall_new=0.6667, overlap=None, bias_old=None, bias_new=1.0,
        hub_new=0.3333,
    )  # fmt: skip
    assert result.failures == ("en: recall@10 is 0.33, required is 0.50.",)


def test_queries_of_a_team_replace_those_made_from_titles(migration: AnyMigration) -> None:
    queries = [
        GateQuery("about a", "fr", "a"),
        # Without a known answer, only the overlap of what old and new find is measured: d of {d, e}
        # and {c, e}.
        GateQuery("about d", "it", None),
    ]
    result = measure(migration, MODEL, GateLimits(), GateOptions(old=MODEL, queries=queries))
    assert result.languages["fr"] == LanguageResult(
        questions=1, recall_old=1.0, recall_new=1.0, overlap=None, bias_old=None, bias_new=None,
        hub_old=0.0, hub_new=0.0,
    )  # fmt: skip
    assert result.languages["it"] == LanguageResult(
        questions=0, recall_old=None, recall_new=None, overlap=0.5, bias_old=None, bias_new=None
    )
    assert result.languages["de"].questions == 0


def test_at_most_n_documents_of_a_language_are_measured(migration: AnyMigration) -> None:
    result = measure(migration, MODEL, GateLimits(), GateOptions(per_language=2))
    assert [each.questions for each in result.languages.values()] == [2, 2]


def test_without_a_known_answer_there_is_nothing_to_judge_by() -> None:
    _, _, migration = memory_migration()
    result = measure(migration, MODEL, GateLimits())
    assert result.failures == (
        "No query with a known answer was searched: there is nothing to judge by.",
    )


@pytest.mark.parametrize(
    ("queries", "overlaps", "biases", "expected"),
    [(10, 10, 10, 4), (9, 10, 10, 2), (10, 9, 10, 3), (10, 10, 9, 3)],
)
def test_each_measure_decides_from_ten_on(
    queries: int, overlaps: int, biases: int, expected: int
) -> None:
    result = LanguageResult(
        questions=queries, recall_old=0.9, recall_new=0.4, overlap=0.0, bias_old=0.1, bias_new=0.3
    )
    found = list(failures({"": result}, {"": (overlaps, biases)}, GateLimits()))
    assert len(found) == expected
    assert all(each.startswith("(no language): ") for each in found)


def test_a_document_without_vector_is_left_out(migration: AnyMigration) -> None:
    assert isinstance(migration.target, MemoryEndpoint)
    del migration.target.stored_vectors["a"]
    result = measure(migration, MODEL, GateLimits(), GateOptions(old=MODEL))
    # b keeps {a, c} of the old and {d, c} of the new ones; d keeps none of {e, f}.
    assert result.languages["en"].overlap == 0.25


def test_a_value_at_its_limit_passes() -> None:
    result = LanguageResult(
        questions=10, recall_old=0.75, recall_new=0.5, overlap=0.25, bias_old=0.25, bias_new=0.5
    )
    limits = GateLimits(
        minimum_recall=0.5, maximum_recall_loss=0.25, minimum_overlap=0.25, maximum_bias_gain=0.25
    )
    assert list(failures({"en": result}, {"en": (10, 10)}, limits)) == []


class Scattered(TextEmbedder):
    """Places a query at its document, or where the document is that many queries share."""

    def vector(self, text: str) -> NDArray[np.float32]:
        name, _, number = text.partition(" ")
        seed = 0 if name == "hub" else int(number)
        vector = np.random.default_rng(seed).normal(size=16).astype(np.float32)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def hub_migration(*, hub: int, languages: int = 1, duplicate: bool = False) -> AnyMigration:
    """Return 100 documents of each language; the queries of the first ``hub`` find another one."""
    model = Scattered(1, dimension=16)
    source, target, migration = memory_migration()
    for number in range(1, 100 * languages + 1):
        title = f"hub {number}" if number <= hub else f"about {number}"
        text = "the same text" if duplicate else f"text {number}"
        document = Document(str(number), text, {"lang": f"l{(number - 1) // 100}", "title": title})
        for endpoint in (source, target):
            endpoint.put(document, model.vector(f"about {number}"))
    text = "the same text" if duplicate else "hub"
    center = Document("hub", text, {"lang": "zz", "title": "about 0"})
    for endpoint in (source, target):
        endpoint.put(center, model.vector("hub 0"))
    return migration


def hub_failures(migration: AnyMigration, **limits: float) -> list[str]:
    result = measure(
        migration,
        Scattered(1, dimension=16),
        GateLimits(minimum_recall=0, **limits),
        GateOptions(per_language=100),
    )
    return list(result.failures)


def test_a_hub_made_on_purpose_fails_and_is_named() -> None:
    assert hub_failures(hub_migration(hub=16)) == [
        "l0: 16 of 100 queries have the same wrong first hit, hub; allowed are 15."
    ]
    assert hub_failures(hub_migration(hub=16), maximum_first_share=0.2) == []


def test_what_an_ordinary_document_reaches_by_chance_passes() -> None:
    assert hub_failures(hub_migration(hub=15)) == []
    assert hub_failures(hub_migration(hub=0)) == []


def test_a_hub_of_all_languages_is_found_though_no_language_has_too_much_of_it() -> None:
    """Of 400 queries, 10 % are needed; of 100 of one language 15 would be allowed."""
    migration = hub_migration(hub=0, languages=4)
    for endpoint in (migration.source, migration.target):
        assert isinstance(endpoint, MemoryEndpoint)
        for number in range(1, 401):
            document = endpoint.documents[str(number)]
            if number % 9 == 0:
                fields = {**document.metadata, "title": f"hub {number}"}
                endpoint.documents[str(number)] = Document(document.id, document.text, fields)
    assert hub_failures(migration) == [
        "all languages: 44 of 400 queries have the same wrong first hit, hub; allowed are 40."
    ]


def test_a_duplicate_of_the_answer_is_no_hub() -> None:
    assert hub_failures(hub_migration(hub=50, duplicate=True)) == []


def test_few_queries_of_a_language_do_not_decide() -> None:
    migration = hub_migration(hub=100)
    options = GateOptions(per_language=9)
    result = measure(migration, Scattered(1, dimension=16), GateLimits(minimum_recall=0), options)
    assert result.languages["l0"].hub_new == 1.0
    assert result.failures == ()
