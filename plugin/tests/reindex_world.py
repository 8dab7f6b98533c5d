"""Applications that write while a collection is re-embedded: a state machine over any database.

A world gives the database. The machine keeps a model of what must be there, interleaves writes,
edits and deletions with windows, kills and restarts, and compares: every document has exactly the
vector of its text, no deleted one returns, no payload is lost."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lusifer.common.validation import check_text
from lusifer.errors import InvalidInputError
from lusifer.reindex.cutover import rollback, switch
from lusifer.reindex.job import Job
from lusifer.reindex.plan import Estimate, Model, Place, Plan
from lusifer.reindex.runner import run
from lusifer.types import Document, Embedding, Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lusifer.reindex.endpoints.base import Migration

DIMENSION = 8
IDS = [f"doc/{index}" for index in range(12)]
TEXTS = [f"text {index}" for index in range(6)]
DELETE, AGAIN = "delete", "again"
"""Beside a text to write: delete, or write what was there at first, to the letter."""


def fast_folder() -> Path:
    """A new folder, in memory where the system has such a place: hundreds of flushes wait for a slow disk."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return Path(tempfile.mkdtemp(dir=memory if roomy else None))


class Killed(BaseException):
    """The process ends here."""


class TextEmbedder:
    """A vector for each text by hashing it; another seed is another model.

    ``during`` is called once, in the middle of an embedding.
    """

    role_prompts: Mapping[str, str] = {"query": "", "document": ""}

    def __init__(self, seed: int, dimension: int = DIMENSION) -> None:
        self.seed = seed
        self.dimension = dimension
        self.model_name = f"model-{seed}"
        self.fingerprint = "sha256:" + f"{seed:x}" * 64
        self.texts = 0
        self.during: Callable[[], None] | None = None

    def vector(self, text: str) -> NDArray[np.float32]:
        digest = hashlib.sha256(f"{self.seed} {text}".encode()).digest()
        vector = np.random.default_rng(list(digest)).normal(size=self.dimension)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def stream(self, texts: Iterable[str], role: str, *, window: int = 512) -> Iterator[Any]:
        during, self.during = self.during, None
        if during is not None:
            during()
        for text in texts:
            self.texts += 1
            try:
                check_text(text)
            except InvalidInputError as error:
                yield error
            else:
                yield Embedding(self.vector(text), len(text.split()), False)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self.embed_documents(texts)

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.stack([self.vector(text) for text in texts])
        return Embeddings(vectors, (1,) * len(texts), (False,) * len(texts))

    def embed_query(self, text: str) -> Embedding:
        return self.embed_queries([text])[0]

    def close(self) -> None:
        pass


OLD, NEW = TextEmbedder(1), TextEmbedder(2)


def make_plan(**changes: Any) -> Plan:
    place = Place(kind="embedded", address="here", collection="v1")
    values: dict[str, Any] = {
        "id": "test",
        "created": "2026-01-01T00:00:00+00:00",
        "lusifer": "test",
        "source": place,
        "target": place.model_copy(update={"collection": "v2"}),
        "in_place": False,
        "alias": "live",
        "model": Model(name=NEW.model_name, fingerprint=NEW.fingerprint, dimension=DIMENSION),
        "old_model": Model(name=OLD.model_name, fingerprint=OLD.fingerprint, dimension=DIMENSION),
        "window": 4,
        "estimate": Estimate(
            documents=0, sampled=0, languages={}, tokens=0, tokens_per_s=1, seconds=0, index_bytes=0
        ),
    }
    return Plan(**{**values, **changes})


class World(Protocol):
    """A database with one live collection, as an application uses it."""

    in_place: bool
    fenced: bool
    """Whether nobody can write in the last moment before a switch."""

    def migration(self) -> Migration:
        """The two sides, as a fresh process would open them."""
        ...

    def write(self, document: Document, vector: NDArray[np.float32]) -> None:
        """The application writes what it sees."""
        ...

    def delete(self, document_id: str) -> None:
        """The application deletes from what it sees."""
        ...

    def everything(self, vector_of: str) -> dict[str, tuple[Document, NDArray[np.float32] | None]]:
        """What the application sees; ``vector_of``: ``old`` or ``new``."""
        ...

    def close(self) -> None:
        """Remove it."""
        ...


def switch_while(
    job: Job,
    migration: Migration,
    *,
    before: Callable[[], None],
    at_the_switch: Callable[[], None],
    after: Callable[[], None],
) -> None:
    """Switch, while an application does this and that.

    Args:
        job: It has run.
        migration: Its two sides.
        before: In the last moment before the alias changes, if the database lets writers in.
        at_the_switch: Just before it does.
        after: As soon as it has.
    """
    show_new, fence = migration.switch.show_new, migration.fence

    def show() -> None:
        before()
        at_the_switch()
        show_new()

    @contextmanager
    def watched() -> Iterator[None]:
        with fence():
            yield
        after()

    migration.switch.show_new = show  # type: ignore[method-assign]
    with job.locked():
        switch(job, replace(migration, fence=watched), NEW, force=True, samples=4, per_language=1)


def written_again(world: World, folder: Path) -> None:
    """An application takes documents away or edits them on the old side, and on the new one has them back."""
    first = {id_: Document(id_, f"text of {id_}", {"edit": 0, "lang": "en"}) for id_ in IDS}
    for document in first.values():
        world.write(document, OLD.vector(document.text))
    migration = world.migration()
    job = Job.create(folder / "job", make_plan(in_place=world.in_place))
    with job.locked():
        assert run(job, migration, NEW).phase == "settled"
    deleted, edited, added = (
        IDS[0],
        IDS[1],
        Document("new", "a new text", {"edit": 1, "lang": "en"}),
    )

    def before() -> None:
        world.delete(deleted)
        world.delete(IDS[2])
        other = Document(edited, "an edited text", {"edit": 1, "lang": "en"})
        for document in (other, added):
            world.write(document, OLD.vector(document.text))

    def after() -> None:
        for id_ in (deleted, edited):
            world.write(first[id_], NEW.vector(first[id_].text))
        world.delete(IDS[3])

    switch_while(job, migration, before=before, at_the_switch=lambda: None, after=after)
    migration.close()
    expected = {id_: document for id_, document in first.items() if id_ not in IDS[2:4]} | {
        "new": added
    }
    found = world.everything("new")
    assert {id_: document for id_, (document, _) in found.items()} == expected
    for id_, (document, vector) in found.items():
        assert vector is not None
        np.testing.assert_allclose(vector, NEW.vector(document.text), atol=1e-5, err_msg=id_)


class Machine(RuleBasedStateMachine):
    """Subclasses give ``make_world``."""

    @staticmethod
    def make_world(folder: Path) -> World:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.folder = fast_folder()
        self.world = self.make_world(self.folder)
        self.job = Job.create(self.folder / "job", make_plan(in_place=self.world.in_place))
        self.live: dict[str, Document] = {}
        self.old_side: dict[str, Document] | None = None
        """What the old side must show after a rollback; None before a switch."""
        self.edits = 0

    @initialize(chosen=st.lists(st.sampled_from(IDS), unique=True, min_size=3))
    def fill(self, chosen: list[str]) -> None:
        for id_ in chosen:
            self.write(id_, TEXTS[0])

    @rule(id_=st.sampled_from(IDS), text=st.sampled_from(TEXTS))
    def write(self, id_: str, text: str) -> None:
        self.edits += 1
        self.write_as_it_is(Document(id_, text, {"edit": self.edits, "lang": "en"}))

    def write_as_it_is(self, document: Document) -> None:
        model = NEW if self.switched else OLD
        self.world.write(document, model.vector(document.text))
        self.live[document.id] = document

    @rule(id_=st.sampled_from(IDS))
    def delete(self, id_: str) -> None:
        if id_ in self.live:
            self.world.delete(id_)
            del self.live[id_]

    @rule(data=st.data())
    @precondition(lambda self: not self.switched)
    def window(self, data: st.DataObject) -> None:
        """One window, in a process of its own; applications write while it embeds."""
        NEW.during = self.some_writes(data)
        try:
            self.run(maximum_passes=1, stopped=lambda: True)
        finally:
            NEW.during = None

    @rule(after=st.booleans())
    @precondition(lambda self: not self.switched)
    def killed(self, after: bool) -> None:
        """A kill before or after the write of a window, always before its checkpoint."""
        migration = self.world.migration()
        write = migration.new.write

        def dying(*arguments: Any) -> int:
            if after:
                write(*arguments)
            raise Killed

        migration.new.write = dying  # type: ignore[method-assign]
        try:
            with self.job.locked():
                run(self.job, migration, NEW, maximum_passes=1)
        except Killed:
            pass
        finally:
            migration.close()

    @rule()
    @precondition(lambda self: not self.switched)
    def whole_run(self) -> None:
        state = self.run()
        assert state.phase == "settled"
        migration = self.world.migration()
        try:
            assert migration.new.count() == len(self.live)
            assert migration.new.count_without_vector() == 0
        finally:
            migration.close()

    @rule(data=st.data(), killed=st.sampled_from(["not", "before", "after"]))
    @precondition(lambda self: not self.switched and self.live)
    def switch(self, data: st.DataObject, killed: str) -> None:
        """Applications write just before and just after the alias changes, and while it is settled."""
        self.run()
        held = set(self.live)
        before = self.some_writes(data)
        # A document that was added in the last moment and deleted right after can't be told from
        # one that is still to be brought over: these databases keep no trace of what was deleted.
        after = self.some_writes(data, lambda id_: id_ in held)
        later = self.some_writes(data, lambda id_: id_ in held)
        migration = self.world.migration()

        def at_the_switch() -> None:
            if killed == "before":
                raise Killed
            self.old_side = dict(self.live)

        def then() -> None:
            if killed == "after":
                raise Killed
            after()
            NEW.during = later

        try:
            switch_while(
                self.job,
                migration,
                before=before if not self.world.fenced else lambda: None,
                at_the_switch=at_the_switch,
                after=then,
            )
        except Killed:
            migration.close()
            after()
            self.old_side = self.old_side or dict(self.live)
            self.complete()
        finally:
            NEW.during = None
            migration.close()
        self.right()

    @rule()
    @precondition(lambda self: self.switched)
    def complete(self) -> None:
        """The command again, after a kill or to bring over what stragglers wrote."""
        migration = self.world.migration()
        try:
            with self.job.locked():
                switch(self.job, migration, NEW)
        finally:
            migration.close()

    @rule()
    @precondition(lambda self: self.switched and not self.world.in_place)
    def roll_back(self) -> None:
        assert self.old_side is not None
        migration = self.world.migration()
        try:
            rollback(self.job, migration)
        finally:
            migration.close()
        self.live, self.old_side = self.old_side, None
        self.compare(self.world.everything("old"), OLD)

    @invariant()
    def payloads_are_never_lost(self) -> None:
        side = "new" if self.switched else "old"
        found = self.world.everything(side)
        assert {id_: document for id_, (document, _) in found.items()} == self.live

    def teardown(self) -> None:
        try:
            if not self.switched:
                assert self.run().phase == "settled"
                migration = self.world.migration()
                try:
                    with self.job.locked():
                        switch(self.job, migration, NEW, force=True, samples=4, per_language=1)
                finally:
                    migration.close()
                self.old_side = dict(self.live)
            self.right()
        finally:
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def switched(self) -> bool:
        return self.old_side is not None

    def run(self, **options: Any) -> Any:
        migration = self.world.migration()
        try:
            with self.job.locked():
                return run(Job(self.job.path), migration, NEW, **options)
        finally:
            migration.close()

    def right(self) -> None:
        self.compare(self.world.everything("new"), NEW)

    def compare(
        self, found: dict[str, tuple[Document, NDArray[np.float32] | None]], model: TextEmbedder
    ) -> None:
        assert {id_: document for id_, (document, _) in found.items()} == self.live
        for id_, (document, vector) in found.items():
            assert vector is not None, id_
            np.testing.assert_allclose(vector, model.vector(document.text), atol=1e-5, err_msg=id_)

    def some_writes(
        self, data: st.DataObject, deletable: Callable[[str], bool] = lambda _: True
    ) -> Callable[[], None]:
        ways = [*TEXTS, DELETE, AGAIN]
        changes = data.draw(
            st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(ways)), max_size=4)
        )
        known = dict(self.live)

        def write() -> None:
            for id_, text in changes:
                if text == AGAIN:
                    if id_ in known:
                        self.write_as_it_is(known[id_])
                elif text != DELETE:
                    self.write(id_, text)
                elif deletable(id_):
                    self.delete(id_)

        return write
