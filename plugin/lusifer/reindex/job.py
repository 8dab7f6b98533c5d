"""The folder of one re-embedding.

::

    lusifer-reindex/
      plan.json        what is to be done; written once, readable by its owner only
      plan.seal        shows that this user made the plan, see lusifer.reindex.trust
      state.json       progress; replaced whole after every batch
      report.json      progress for people, with rates; written at the end of a run
      checks.json      result of the last verification and quality gate
      snapshot.sqlite  what both sides held when each document was last copied
      job.lock         held by the one process that works on it
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.common.files import acquire_lock, read_regular, remove_partials, write_atomic
from lusifer.errors import JobLockedError, JobNotFoundError, PlanError, ReindexError
from lusifer.reindex.plan import Plan
from lusifer.reindex.trust import seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lusifer.types import JSON

__all__ = [
    "AFTER_CUTOVER",
    "OVER",
    "REFUSED_KEPT",
    "Job",
    "LanguageTally",
    "PassTally",
    "Phase",
    "State",
]

REFUSED_KEPT = 100
"""Documents without a usable text that the state lists; further ones are only counted."""

_MAXIMUM_BYTES = 64 * 1024**2
"""Largest plan or state that is read."""

Phase = Literal[
    "planned",
    "running",
    "settled",
    "switching",
    "switched",
    "rolled-back",
    "cleaning",
    "cleaned",
]
"""Settled: a whole pass found nothing to do. Switching: applications see the target, and what they
wrote to the source in the last moment is being reconciled. Cleaning: one side is being deleted."""

AFTER_CUTOVER = frozenset({"switching", "switched"})
"""Phases in which applications see the target."""
OVER = frozenset({"cleaning", "cleaned"})
"""Phases after which only a new plan helps."""

_WRITTEN = ("plan.json", "state.json", "report.json", "checks.json")

_Model = TypeVar("_Model", bound=BaseModel)


class _Mutable(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LanguageTally(_Mutable):
    """Documents and tokens that were embedded in one language."""

    documents: int = 0
    tokens: int = 0


class PassTally(_Mutable):
    """Counts of one pass over the collection."""

    read: int = 0
    stale: int = 0
    """Documents whose new vector was missing or made from other content. The last pass finds 0."""
    written: int = 0
    gone: int = 0
    """Documents deleted from the target because they no longer exist in the source."""
    refused: int = 0
    """Documents without a text that can be embedded."""
    conflicts: int = 0
    """Documents that applications changed on both sides; they are left as they are."""
    tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    engine_seconds: float = 0.0

    @property
    def found(self) -> int:
        """Number of documents that the pass had to write or delete."""
        return self.stale + self.gone


class State(_Mutable):
    """``state.json``."""

    schema_version: Literal[1] = 1
    plan_id: str
    phase: Phase = "planned"
    was_live: bool = False
    """Whether applications have seen the target at some time."""
    step: Literal["copy", "sweep"] = "copy"
    """Copy: embed and write. Sweep: delete orphans."""
    spans: Annotated[int, Field(ge=0, le=2**24)] = 0
    """Number of key ranges of this step; 0 before its first batch."""
    finished: list[tuple[int, int]] = []
    """Key ranges that are done, as runs of their numbers: from, up to and not including."""
    cursors: dict[int, str] = {}
    """Cursors of key ranges that were begun."""
    current: PassTally = PassTally()
    passes: list[PassTally] = []
    """Passes that are complete."""
    languages: dict[str, LanguageTally] = {}
    refused: list[dict[str, str]] = []
    """First documents without a usable text, at most ``REFUSED_KEPT``."""

    def finish(self, number: int) -> None:
        """Mark a key range as done."""
        self.cursors.pop(number, None)
        merged: list[tuple[int, int]] = []
        for first, end in sorted([*self.finished, (number, number + 1)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((first, end))
        self.finished = merged

    def open_ranges(self) -> list[int]:
        """Return the numbers of key ranges that are not done, in order."""
        done = {
            number
            for first, end in self.finished
            for number in range(max(0, first), min(end, self.spans))
        }
        return [number for number in range(self.spans) if number not in done]

    def start_step(self, step: Literal["copy", "sweep"], ranges: int) -> None:
        """Begin a walk over all key ranges."""
        self.step, self.spans, self.finished, self.cursors = step, ranges, [], {}

    def end_pass(self) -> None:
        """Move the current pass to those that are complete."""
        self.passes.append(self.current)
        self.current = PassTally()
        self.start_step("copy", 0)

    @property
    def totals(self) -> PassTally:
        """Sums over all passes, including the current one."""
        every = [*self.passes, self.current]
        return PassTally(
            **{name: sum(getattr(each, name) for each in every) for name in PassTally.model_fields}
        )


class Job:
    """An existing folder with a plan.

    Args:
        path: The folder.

    Raises:
        JobNotFoundError: There is no plan.
        PlanError: The plan can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        plan_file = self.path / "plan.json"
        try:
            self.content = read_regular(plan_file, _MAXIMUM_BYTES)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise JobNotFoundError(
                f"No plan in {self.path}.",
                next_step=f"Make one with: lusifer reindex plan --job {self.path}",
            ) from error
        except OSError as error:
            raise PlanError(
                f"{plan_file} can't be read: {error}.", next_step="Make a new plan."
            ) from error
        try:
            self.plan = _parse(Plan, self.content)
        except ValueError as error:
            raise PlanError(
                f"{plan_file} can't be read: {error}.",
                next_step="Make a new plan in another folder.",
            ) from error

    @classmethod
    def create(cls, path: Path | str, plan: Plan) -> Job:
        """Write a plan into a new or empty folder.

        Raises:
            PlanError: There is a plan already, or the folder can't be written.
        """
        path = Path(path)
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            content = (plan.model_dump_json(indent=2) + "\n").encode()
            write_atomic(path / "plan.json", content, mode=0o600)
            seal(path, content)
        except OSError as error:
            raise PlanError(
                f"{path} can't be written: {error}.", next_step="Name another folder with --job."
            ) from error
        return cls(path)

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Refuse a folder that holds a plan, before anything is computed for it.

        Raises:
            PlanError: It does.
        """
        if (path / "plan.json").exists():
            raise PlanError(
                f"{path} holds a plan already.",
                next_step=f"Continue it with: lusifer reindex run {path}; or name another folder "
                "with --job.",
            )

    def state(self) -> State:
        """Return the progress.

        Raises:
            ReindexError: The file can't be read.
            PlanError: The file belongs to another plan.
        """
        path = self.path / "state.json"
        advice = "Remove it: the next run begins a new pass and embeds nothing twice."
        try:
            raw = read_regular(path, _MAXIMUM_BYTES)
        except FileNotFoundError:
            return State(plan_id=self.plan.id)
        except OSError as error:
            raise ReindexError(f"{path} can't be read: {error}.", next_step=advice) from error
        try:
            state = _parse(State, raw)
        except ValueError as error:
            raise ReindexError(f"{path} can't be read: {error}.", next_step=advice) from error
        if state.plan_id != self.plan.id:
            raise PlanError(f"{path} belongs to another plan.", next_step=advice)
        return state

    def save(self, state: State) -> None:
        """Write the state whole or not at all."""
        write_atomic(self.path / "state.json", state.model_dump_json() + "\n", mode=0o600)

    def write(self, name: str, content: Mapping[str, JSON]) -> None:
        """Write a JSON file of results."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.path / name, text, mode=0o600)

    def read(self, name: str) -> dict[str, JSON] | None:
        """Return a JSON file of results, or None."""
        try:
            found: dict[str, JSON] = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same job.

        Raises:
            JobLockedError: One does.
            ReindexError: The lock file can't be opened.
        """
        try:
            lock = acquire_lock(self.path / "job.lock")
        except TimeoutError as error:
            raise JobLockedError(
                f"Another process works on {self.path}.",
                next_step="Wait for it, or stop it with Ctrl-C.",
            ) from error
        except OSError as error:
            raise ReindexError(
                f"The job {self.path} can't be locked: {error}.",
                next_step="Check that the folder can be written to.",
            ) from error
        try:
            remove_partials(*(self.path / name for name in _WRITTEN))
            yield
        finally:
            lock.release()


def _parse(kind: type[_Model], raw: bytes) -> _Model:
    """Parse JSON; raise ValueError with the reason on one line."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
