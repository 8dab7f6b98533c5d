"""The folder of one re-embedding.

::

    lusifer-reindex/
      plan.json      what is to be done; written once
      state.json     how far it is; replaced whole after every window
      report.json    the same for reading, with rates, at the end of a run
      checks.json    what the last verification and gate found
      ledger.sqlite  during a switch: what the new side held at that moment
      job.lock       held by the one process that works on it
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lusifer.common.files import acquire_lock, write_atomic
from lusifer.errors import InvalidInputError, JobLockedError, JobNotFoundError, StoreError
from lusifer.reindex.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REFUSED_KEPT", "Job", "LanguageTally", "PassTally", "Phase", "State"]

REFUSED_KEPT = 100
"""Documents without a usable text that the state lists; the rest is counted."""

Phase = Literal["planned", "running", "settled", "switching", "switched", "rolled-back", "cleaned"]
"""Settled: a whole pass found nothing to do. Switching: applications see the new side, and what
they wrote to the old one in the last moment is being brought over."""

_Model = TypeVar("_Model", bound=BaseModel)


class _Mutable(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LanguageTally(_Mutable):
    """What was embedded of one language."""

    documents: int = 0
    tokens: int = 0


class PassTally(_Mutable):
    """What one pass over the collection did."""

    read: int = 0
    stale: int = 0
    """Documents whose new vector was missing or of other content: what a pass must not find in the
    end."""
    written: int = 0
    gone: int = 0
    """Documents of the new side that were deleted on the old one."""
    refused: int = 0
    """Documents without a text that can be embedded."""
    tokens: int = 0
    truncated: int = 0
    seconds: float = 0.0
    engine_seconds: float = 0.0

    @property
    def found(self) -> int:
        """What the pass had to do."""
        return self.stale + self.gone


class State(_Mutable):
    """``state.json``."""

    schema_version: Literal[1] = 1
    plan_id: str
    phase: Phase = "planned"
    step: Literal["copy", "sweep"] = "copy"
    spans: int = 0
    """Into how many parts this pass cut the collection; 0 before its first window."""
    finished: list[tuple[int, int]] = []
    """Parts that are done, as ranges from, up to and not including."""
    cursors: dict[int, str] = {}
    """Where the parts that were begun go on."""
    current: PassTally = PassTally()
    passes: list[PassTally] = []
    """Those that are complete."""
    languages: dict[str, LanguageTally] = {}
    refused: list[dict[str, str]] = []
    """The first ones, at most ``REFUSED_KEPT``."""

    def finish(self, part: int) -> None:
        """Note a part as done."""
        self.cursors.pop(part, None)
        merged: list[tuple[int, int]] = []
        for first, end in sorted([*self.finished, (part, part + 1)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((first, end))
        self.finished = merged

    def open_parts(self) -> list[int]:
        """Parts that are not done, in order."""
        done = {part for first, end in self.finished for part in range(first, end)}
        return [part for part in range(self.spans) if part not in done]

    def start_step(self, step: Literal["copy", "sweep"], parts: int) -> None:
        """Begin a walk over all parts."""
        self.step, self.spans, self.finished, self.cursors = step, parts, [], {}

    def end_pass(self) -> None:
        """Put the current pass to those that are complete."""
        self.passes.append(self.current)
        self.current = PassTally()
        self.start_step("copy", 0)

    @property
    def totals(self) -> PassTally:
        """Over all passes, the current one too."""
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
        InvalidInputError: The plan can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            raw = (self.path / "plan.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise JobNotFoundError(
                f"No plan in {self.path}.",
                next_step=f"Make one with: lusifer reindex plan --job {self.path}",
            ) from error
        self.plan = _parsed(
            Plan, raw, self.path / "plan.json", "Make a new plan in another folder."
        )

    @classmethod
    def create(cls, path: Path | str, plan: Plan) -> Job:
        """Write a plan into a new or empty folder.

        Raises:
            StoreError: There is a plan already, or the folder can't be written.
        """
        path = Path(path)
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomic(path / "plan.json", plan.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise StoreError(
                f"{path} can't be written: {error}.", next_step="Name another folder with --job."
            ) from error
        return cls(path)

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Refuse a folder that holds a plan, before anything is computed for it.

        Raises:
            StoreError: It does.
        """
        if (path / "plan.json").exists():
            raise StoreError(
                f"{path} holds a plan already.",
                next_step=f"Go on with it: lusifer reindex run {path}; or name another folder with --job.",
            )

    def state(self) -> State:
        """How far it is.

        Raises:
            InvalidInputError: The file can't be read, or belongs to another plan.
        """
        path = self.path / "state.json"
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return State(plan_id=self.plan.id)
        advice = "Remove it: the next run begins a new pass and embeds nothing twice."
        state = _parsed(State, raw, path, advice)
        if state.plan_id != self.plan.id:
            raise InvalidInputError(f"{path} belongs to another plan.", next_step=advice)
        return state

    def save(self, state: State) -> None:
        """Write the state whole or not at all."""
        write_atomic(self.path / "state.json", state.model_dump_json() + "\n")

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of results."""
        write_atomic(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of results, or None."""
        try:
            found: dict[str, Any] = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same job.

        Raises:
            JobLockedError: One does.
        """
        try:
            lock = acquire_lock(self.path / "job.lock")
        except TimeoutError as error:
            raise JobLockedError(
                f"Another process works on {self.path}.",
                next_step="Wait for it, or stop it with Ctrl-C.",
            ) from error
        try:
            yield
        finally:
            lock.release()


def _parsed(kind: type[_Model], raw: bytes, path: Path, advice: str) -> _Model:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidInputError(
            f"{path} can't be read: {' '.join(str(error).split())[:300]}.", next_step=advice
        ) from error
