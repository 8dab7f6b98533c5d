"""The contract of every store: each implementation inherits it and provides the fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.errors import InvalidDimensionError, InvalidInputError, InvalidTextError, StoreError
from lusifer.stores.base import Store
from lusifer.stores.conditions import parse_condition
from lusifer.types import Condition, Document, SearchOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSION = 16
FINGERPRINT = "sha256:" + "a" * 64


def documents(count: int, start: int = 0) -> list[Document]:
    return [
        Document(f"doc/{i}", f"text {i}", {"n": i, "tags": ["x", "y"]}) for i in range(start, count)
    ]


def unit(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    result: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return result


class StoreContract:
    """Contract of every store; a subclass provides ``store``, empty, with dimension 16."""

    def test_is_an_empty_store(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert store.fingerprint == FINGERPRINT
        assert store.dimension == DIMENSION
        assert store.count() == 0
        assert store.search(unit(1)[0], 3) == []

    def test_search_is_exact_cosine_best_first(self, store: Store) -> None:
        vectors, queries = unit(300), unit(5, seed=1)
        store.upsert(documents(300), vectors)
        for query in queries:
            scores = vectors @ query
            hits = store.search(query, 10)
            expected = np.argsort(-scores)[:10]
            assert [hit.id for hit in hits] == [f"doc/{i}" for i in expected]
            assert [hit.score for hit in hits] == pytest.approx(scores[expected], abs=1e-5)
        assert len(store.search(queries[0], 1000)) == 300

    def test_a_document_comes_back_as_it_went_in(self, store: Store) -> None:
        metadata = {
            "text": "reserved? no", "empty": {}, "list": [], "none": None, "flag": True, "big": 2**63 - 1,
            "small": -(2**63), "real": 0.1, "nested": [[{"ключ": "значение"}]], "": "no key", "a.b[0]": 1,
        }  # fmt: skip
        document = Document("ид/🙂 1", "текст\n猫\t🙂", metadata)
        store.upsert([document], unit(1))
        (hit,) = store.search(unit(1)[0], 1)
        assert (hit.id, hit.text, hit.metadata) == (document.id, document.text, metadata)
        assert isinstance(hit.metadata["flag"], bool)
        assert hit.score == pytest.approx(1, abs=1e-5)

    def test_writing_again_adds_nothing(self, store: Store) -> None:
        store.upsert(documents(10), unit(10))
        store.upsert(documents(10), unit(10))
        assert store.count() == 10

    def test_unchanged_is_by_text_and_metadata(self, store: Store) -> None:
        old = documents(5)
        store.upsert(old, unit(5))
        assert store.unchanged(old) == {document.id for document in old}
        changed = [
            old[0],
            Document(old[1].id, "other text", old[1].metadata),
            Document(old[2].id, old[2].text, {"n": -1}),
            Document("doc/new", old[3].text, old[3].metadata),
            Document(old[4].id, old[4].text, dict(reversed(old[4].metadata.items()))),
        ]
        assert store.unchanged(changed) == {"doc/0", "doc/4"}
        assert store.unchanged([]) == set()

    def test_same_id_replaces_and_the_last_one_stays(self, store: Store) -> None:
        vectors = unit(3)
        store.upsert([Document("a", "one"), Document("b", "two"), Document("a", "three")], vectors)
        assert store.count() == 2
        assert store.search(vectors[2], 1)[0].text == "three"
        store.upsert([Document("a", "four")], vectors[:1])
        assert store.count() == 2
        hit = store.search(vectors[0], 1)[0]
        assert (hit.text, hit.metadata) == ("four", {})

    def test_documents_are_listed_and_deleted_by_their_ids(self, store: Store) -> None:
        assert list(store.document_ids()) == []
        store.upsert(documents(1200), unit(1200))
        assert sorted(store.document_ids()) == sorted(each.id for each in documents(1200))
        assert store.delete(["doc/7", "doc/0", "doc/7", "absent"]) == 2
        assert store.delete(["doc/7"]) == 0
        assert store.delete([]) == 0
        assert store.count() == 1198
        assert store.search(unit(1200)[7], 1)[0].id != "doc/7"
        assert store.delete(f"doc/{i}" for i in range(1200)) == 1198
        assert (store.count(), list(store.document_ids())) == (0, [])

    def test_bad_input_writes_nothing(self, store: Store) -> None:
        good = documents(2)
        nan = unit(2)
        nan[1, 3] = np.nan
        with pytest.raises(InvalidInputError, match="first in vector 1"):
            store.upsert(good, nan)
        with pytest.raises(InvalidInputError, match="first in vector 0"):
            store.upsert(good, np.zeros((2, DIMENSION), dtype=np.float32))
        with pytest.raises(InvalidInputError, match="2 documents and 3 vectors"):
            store.upsert(good, unit(3))
        with pytest.raises(InvalidDimensionError, match=r"\(2, 8\).*\(N, 16\)"):
            store.upsert(good, unit(2)[:, :8])
        with pytest.raises(InvalidTextError):
            store.upsert([good[0], Document("x", "\ud800")], unit(2))
        assert store.count() == 0

    def test_bad_search(self, store: Store) -> None:
        store.upsert(documents(1), unit(1))
        with pytest.raises(InvalidDimensionError):
            store.search(unit(1)[0, :8], 1)
        with pytest.raises(InvalidInputError):
            store.search(np.full(DIMENSION, np.nan, dtype=np.float32), 1)
        with pytest.raises(InvalidInputError, match="limit is 0"):
            store.search(unit(1)[0], 0)

    def test_optimize_and_flush_keep_everything(self, store: Store) -> None:
        store.upsert(documents(20), unit(20))
        store.flush()
        store.optimize()
        assert store.count() == 20
        assert store.search(unit(20)[7], 1)[0].id == "doc/7"
        store.upsert(documents(21, start=20), unit(1))
        assert store.count() == 21

    def test_closed(self, store: Store) -> None:
        with store:
            store.upsert(documents(1), unit(1))
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.count()
        with pytest.raises(StoreError, match="closed"):
            store.upsert(documents(1), unit(1))


def near(*cosines: float) -> NDArray[np.float32]:
    """Return unit vectors with these cosines to the first axis."""
    vectors = np.zeros((len(cosines), DIMENSION), dtype=np.float32)
    vectors[:, 0] = cosines
    vectors[:, 1] = np.sqrt(1 - np.square(vectors[:, 0]))
    return vectors


QUESTION = near(1.0)[0]
LIBRARY = [
    Document(
        "en-1",
        "a red house",
        {
            "lang": "en",
            "year": 2001,
            "book": "x",
            "open": True,
            "price": 1.5,
            "day": "2024-01-05T12:00:00Z",
        },
    ),
    Document(
        "de-1",
        "ein rotes Haus",
        {
            "lang": "de",
            "year": 2002,
            "book": "x",
            "tags": ["a", "b"],
            "day": "2024-03-01T00:00:00Z",
        },
    ),
    Document(
        "en-2", "a blue car", {"lang": "en", "year": 2002, "book": "y", "author": {"name": "Ada"}}
    ),
    Document("fr-1", "une voiture bleue", {"lang": "fr", "year": 2003, "book": "y"}),
    Document("ja-1", "青い自動車", {"lang": "ja", "year": 2003, "book": "z"}),
]
COSINES = (0.9, 0.85, 0.8, 0.75, 0.7)


class SearchContract:
    """Contract of search options; a subclass provides ``library``, which holds ``LIBRARY``."""

    def ids(self, store: Store, limit: int = 10, **options: object) -> list[str]:
        return [hit.id for hit in store.search(QUESTION, limit, SearchOptions(**options))]  # type: ignore[arg-type]

    def test_no_options_find_the_nearest(self, library: Store) -> None:
        assert self.ids(library) == ["en-1", "de-1", "en-2", "fr-1", "ja-1"]
        assert self.ids(library, limit=2) == ["en-1", "de-1"]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({"lang": "en"}, ["en-1", "en-2"]),
            ({"lang": ["de", "fr"]}, ["de-1", "fr-1"]),
            ({"year": 2003}, ["fr-1", "ja-1"]),
            ({"year": [2001, 2002]}, ["en-1", "de-1", "en-2"]),
            ({"year": 2002, "lang": "de"}, ["de-1"]),
            ({"open": True}, ["en-1"]),
            ({"price": 1.5}, ["en-1"]),
            ({"tags": "b"}, ["de-1"]),
            ({"lang": "xx"}, []),
        ],
    )
    def test_filters(self, library: Store, where: dict[str, object], expected: list[str]) -> None:
        assert self.ids(library, where=where) == expected

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (["lang!=en"], ["de-1", "fr-1", "ja-1"]),
            (['lang:!=["en","de"]'], ["fr-1", "ja-1"]),
            (["year:!=2002", "lang!=ja"], ["en-1", "fr-1"]),
            (["tags!=b"], ["en-1", "en-2", "fr-1", "ja-1"]),
            (["year>=2002", "year<2003"], ["de-1", "en-2"]),
            (["year>2002"], ["fr-1", "ja-1"]),
            (["price<=1.5"], ["en-1"]),
            (["day>=2024-01-06"], ["de-1"]),
            (["day<2024-03-01T00:30:00+01:00", "day>2024-01-05T12:00:00+01:00"], ["en-1"]),
            (["day>2030-01-01"], []),
        ],
    )
    def test_conditions(self, library: Store, where: list[str], expected: list[str]) -> None:
        conditions = tuple(map(parse_condition, where))
        assert self.ids(library, where=conditions) == expected

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"where": {"langg": "en"}}, r"'langg'; the fields are .*lang \(text"),
            ({"where": (Condition(("langg",), "!=", "en"),)}, "'langg'; the fields are"),
            ({"where": {"year": "2002"}}, "'year' holds number.* compares it with \"2002\""),
            ({"where": (Condition(("year",), "!=", "2002"),)}, "'year' holds number"),
            ({"where": {"lang": 7}}, "'lang' holds text"),
            ({"where": {"open": "true"}}, "'open' holds true or false"),
            ({"where": (Condition(("lang",), ">", 7),)}, "'lang' holds text"),
            ({"languages": ("en",), "language_field": "tongue"}, "'tongue'; the fields are"),
            (
                {"languages": ("en",), "language_field": "tongue", "language_boost": 0.1},
                "'tongue'; the fields are",
            ),
            ({"group_by": "books"}, "'books'; the fields are"),
        ],
    )
    def test_a_field_that_no_document_has_is_an_error(
        self, library: Store, options: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=message):
            self.ids(library, **options)

    def test_filters_look_inside_objects(self, library: Store) -> None:
        assert self.ids(library, where={"author.name": "Ada"}) == ["en-2"]

    @pytest.mark.parametrize("value", [None, [], ["a", 1], [1.5], {"a": 1}])
    def test_a_filter_that_can_not_be_compared_is_refused(
        self, library: Store, value: object
    ) -> None:
        with pytest.raises(InvalidInputError, match="filter on 'lang'"):
            self.ids(library, where={"lang": value})

    def test_languages_demanded(self, library: Store) -> None:
        assert self.ids(library, languages=("fr", "ja")) == ["fr-1", "ja-1"]
        assert self.ids(library, languages=("x",), language_field="book") == ["en-1", "de-1"]

    def test_languages_preferred(self, library: Store) -> None:
        hits = library.search(QUESTION, 10, SearchOptions(languages=("fr",), language_boost=0.12))
        assert [hit.id for hit in hits] == ["en-1", "fr-1", "de-1", "en-2", "ja-1"]
        assert [hit.score for hit in hits] == pytest.approx([0.9, 0.87, 0.85, 0.8, 0.7], abs=1e-4)
        boosted = SearchOptions(languages=("fr",), language_boost=0.12, where={"year": 2003})
        assert [hit.id for hit in library.search(QUESTION, 10, boosted)] == ["fr-1", "ja-1"]

    def test_groups(self, library: Store) -> None:
        assert self.ids(library, group_by="book") == ["en-1", "en-2", "ja-1"]
        assert self.ids(library, group_by="book", limit=2, group_size=2) == [
            "en-1",
            "de-1",
            "en-2",
            "fr-1",
        ]
        assert self.ids(library, group_by="book", where={"lang": ["fr", "de"]}) == ["de-1", "fr-1"]

    def test_groups_by_a_field_inside_an_object(self, library: Store) -> None:
        assert self.ids(library, group_by="author.name") == ["en-2"]

    def test_hybrid_finds_words_and_meaning(self, library: Store) -> None:
        found = self.ids(library, keywords="voiture bleue", limit=3)
        assert found[0] == "fr-1"
        assert found[1] == "en-1"
        assert self.ids(library, keywords="voiture", where={"lang": "en"}) == ["en-1", "en-2"]
        assert self.ids(library, keywords="zzz") == ["en-1", "de-1", "en-2", "fr-1", "ja-1"]

    def test_hybrid_knows_scripts_without_spaces(self, library: Store) -> None:
        assert self.ids(library, keywords="自動車", limit=1) == ["ja-1"]

    def test_hybrid_with_a_boost_is_refused(self, library: Store) -> None:
        with pytest.raises(InvalidInputError, match="boost"):
            self.ids(library, keywords="car", languages=("en",), language_boost=0.1)

    def test_hybrid_without_keywords_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInputError, match="without keywords"):
            self.ids(store, keywords="car")

    def test_every_document_has_a_vector(self, library: Store) -> None:
        assert (library.count(), library.count_without_vector()) == (5, 0)
