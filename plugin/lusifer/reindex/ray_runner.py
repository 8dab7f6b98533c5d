"""The copying of a pass on a Ray cluster, with Ray Data.

::

    parts of the key space ─ read (CPU) ─▶ embed (actors with the model, CPU or GPU) ─▶ write (CPU) ─▶ driver

A part holds about a batch of documents and goes through as one row, so that the batch, the guards
and the checkpoints are those of the local runner. The driver alone keeps the state: a part is done
once its row came back. A worker that is lost takes no more than the parts it had in hand; Ray gives
them to others, and what was already written is found to be right. Keys of databases come from each
worker's own environment.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import MissingExtraError, StoreError
from lusifer.reindex.batch import Found, Outcome, embed, find, put
from lusifer.reindex.plan import Plan
from lusifer.reindex.runner import check_model, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration
    from lusifer.reindex.job import Job, State

__all__ = ["run_on_ray"]

_READERS = 2
"""Actors that read at a time, and as many that write: a model is slower than either."""

_MOST_PARTS = 100_000
"""What Ray plans for at once; above 100,000 windows a part holds several, and a lost worker costs
as many."""


def run_on_ray(
    job: Job,
    migration: Migration,
    embedder: Embedder,
    *,
    address: str,
    workers: int = 2,
    gpus: float = 0,
    maximum_passes: int = 5,
    on_progress: Callable[[State], None] | None = None,
    stopped: Callable[[], bool],
) -> State:
    """As :func:`lusifer.reindex.runner.run`, the copying on a cluster; sweeping stays here.

    Args:
        job: As there.
        migration: As there.
        embedder: Of this process; the workers open the plan's model themselves.
        address: Of the cluster: ``auto``, ``ray://HOST:PORT``, or ``local`` for one on this
            machine.
        workers: Models in the cluster.
        gpus: GPUs for each of them.
        maximum_passes: As there.
        on_progress: Called after every part.
        stopped: As there.

    Raises:
        MissingExtraError: Ray is not installed.
        StoreError: The cluster can't be reached, or a worker failed for good.
    """
    check_model(job.plan.model, embedder)
    # No telemetry, which Ray has on by default.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                include_dashboard=False if address == "local" else None,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"The Ray cluster {address!r} can't be reached: {error}.",
                next_step="Start one with: ray start --head; then use --ray auto.",
            ) from error

    def walk(job: Job, state: State, migration: Migration, _: Embedder) -> Iterator[None]:
        return _copy_on_ray(ray, job, state, migration, workers=workers, gpus=gpus)

    # Ray tells of lost workers on standard output, where only the answer of a command belongs.
    with redirect_stdout(sys.stderr):
        try:
            return run(
                job,
                migration,
                embedder,
                maximum_passes=maximum_passes,
                on_progress=on_progress,
                stopped=stopped,
                walk=walk,
            )
        finally:
            if started:
                ray.shutdown()


def _copy_on_ray(
    ray: Any, job: Job, state: State, migration: Migration, *, workers: int, gpus: float
) -> Iterator[None]:
    if not state.spans:
        wanted = max(1, min(_MOST_PARTS, migration.old.count() // job.plan.window))
        parts = migration.old.spans(wanted)
        state.start_step("copy", len(parts))
    spans = migration.old.spans(state.spans)
    rows = [
        {
            "part": part,
            "first": spans[part].first,
            "end": spans[part].end,
            "cursor": state.cursors.get(part, ""),
        }
        for part in state.open_parts()
    ]
    if not rows:
        return
    # The new side of the embedded store belongs to one process at a time: now to the workers.
    migration.close_sides()
    plan = job.plan.model_dump_json()
    limits = job.plan.limits
    dataset = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(
            _Reader,
            fn_constructor_args=(plan, limits.share(_READERS).source_per_s),
            batch_size=1,
            concurrency=_READERS,
            num_cpus=0.25,
        )
        .map_batches(
            _Embedder,
            fn_constructor_args=(plan, limits.share(workers).tokens_per_s),
            batch_size=1,
            concurrency=workers,
            num_cpus=0.5 if not gpus else 1,
            num_gpus=gpus,
        )
        .map_batches(
            _Writer,
            fn_constructor_args=(plan, limits.share(_READERS).target_per_s),
            batch_size=1,
            concurrency=_READERS,
            num_cpus=0.25,
        )
    )
    try:
        for row in dataset.iter_rows():
            outcome: Outcome = pickle.loads(row["outcome"])  # noqa: S301  (our own, from our workers)
            outcome.add_to(state)
            state.finish(int(row["part"]))
            yield
    except ray.exceptions.RayError as error:
        raise StoreError(
            f"The cluster gave up: {str(error).strip().splitlines()[-1][:300]}",
            next_step=f"Look into Ray's log, then go on: lusifer reindex run {job.path} --ray ADDRESS",
        ) from error


class _Opened:
    """Both sides, opened in a worker."""

    def __init__(self, plan: str, per_s: float) -> None:
        from lusifer.reindex.endpoints.factory import open_migration

        self.plan = Plan.model_validate_json(plan)
        self.migration = open_migration(self.plan)
        self.pace = RateLimit(per_s)


class _Reader(_Opened):
    """A part of the key space becomes the records in it that need a vector."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        from lusifer.reindex.endpoints.base import Span

        span = Span(str(batch["first"][0]), str(batch["end"][0]))
        found: list[Found] = []
        cursor = str(batch["cursor"][0]) or None
        while True:
            # A part that grew is read in windows too, so that no reading is unbounded.
            found.append(find(self.migration, span, cursor, self.plan.window))
            self.pace.spend(found[-1].read)
            cursor = found[-1].cursor
            if cursor is None:
                break
        whole = Found(
            sum(each.read for each in found),
            [record for each in found for record in each.stale],
            {key: sha256 for each in found for key, sha256 in each.seen.items()},
            None,
        )
        return {"part": batch["part"], "found": [pickle.dumps(whole)]}


class _Embedder:
    """Adds vectors; holds the model."""

    def __init__(self, plan: str, per_s: float) -> None:
        from lusifer.reindex.endpoints.factory import open_model

        self.embedder = open_model(Plan.model_validate_json(plan).model)
        self.pace = RateLimit(per_s)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        found: Found = pickle.loads(batch["found"][0])  # noqa: S301
        prepared = embed(self.embedder, found.stale, self.pace)
        return {"part": batch["part"], "found": [pickle.dumps((prepared, found.seen, found.read))]}


class _Writer(_Opened):
    """Writes under the guard and says what was done."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        prepared, seen, read = pickle.loads(batch["found"][0])  # noqa: S301
        outcome = put(self.migration, prepared, seen, read=read)
        self.pace.spend(outcome.tally.written)
        return {"part": batch["part"], "outcome": [pickle.dumps(outcome)]}


def _import_ray() -> Any:
    try:
        with warnings.catch_warnings():
            # What Ray and pandas say about each other's futures is nothing to act on here.
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise MissingExtraError(
            f"A cluster needs Ray: {error}.", next_step="Run pip install 'lusifer[reindex]'."
        ) from error
    return ray
