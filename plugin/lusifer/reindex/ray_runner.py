"""Runs the copying of a pass on a Ray cluster, with Ray Data.

::

    key ranges ─ read (CPU) ─▶ embed (actors with the model, CPU or GPU) ─▶ write (CPU) ─▶ driver

A key range holds about a batch of documents and passes through as one row. So batches, guards and
checkpoints are those of the local runner. Only the driver keeps the state: a range is done once its
row came back. A lost worker costs at most the ranges it was working on. Ray gives them to others,
and what was already written is recognised. Keys of databases come from each worker's own
environment. An actor on the cluster has a copy of the snapshot, and every row brings back what it
adds to it.

``Any`` stands for the ``ray`` module and for the rows of Ray Data, which have no types.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import MissingExtraError, ReindexError
from lusifer.reindex.batch import StaleBatch, embed, read_stale, write
from lusifer.reindex.endpoints.base import KeyRange
from lusifer.reindex.plan import Plan
from lusifer.reindex.runner import PassOptions, check_model, run
from lusifer.reindex.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.batch import EmbeddedBatch, Outcome
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.snapshot import Base

__all__ = ["Cluster", "plan_ranges", "run_on_ray"]

_READERS = 2
"""Actors that read at a time, and as many that write: a model is slower than either."""
_MOST_RANGES = 100_000
"""Rows that Ray plans for at once. Above 100,000 batches a key range holds several, and a lost
worker costs as many."""

_BASES_AT_ONCE = 10_000
"""Entries of the snapshot that are sent to the cluster at a time."""

_Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster and what to use of it."""

    address: str
    """``auto``, ``ray://HOST:PORT``, or ``local`` for one on this machine."""
    workers: int = 2
    """Models in the cluster."""
    gpus: float = 0
    """GPUs for each model."""


def run_on_ray(
    job: Job,
    migration: AnyMigration,
    embedder: Embedder,
    cluster: Cluster,
    options: PassOptions | None = None,
) -> State:
    """Re-embed like :func:`lusifer.reindex.runner.run`, with the copying on a cluster.

    Orphans are deleted by this process.

    Args:
        job: Its plan is followed and its state is updated. The caller holds its lock.
        migration: Source and target.
        embedder: The plan's model in this process; workers open their own.
        cluster: Where to copy.
        options: How passes are run; the cluster replaces their copy step.

    Raises:
        MissingExtraError: Ray is not installed.
        ReindexError: The cluster can't be reached, or a worker failed for good.
        StoreError: Source or target can't be read or written.
    """
    check_model(job.plan.model, embedder)
    # Ray's telemetry is on by default.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(
                address=cluster.address,
                log_to_driver=False,
                include_dashboard=False if cluster.address == "local" else None,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ReindexError(
                f"The Ray cluster {cluster.address!r} can't be reached: {error}.",
                next_step="Start one with: ray start --head; then use --ray auto.",
            ) from error

    def copy_step(
        job: Job,
        state: State,
        migration: AnyMigration,
        _: Embedder,
        snapshot: Snapshot,
        overwrite: bool,
    ) -> Iterator[None]:
        return _copy_on_ray(ray, job, state, migration, cluster, snapshot)

    # Ray reports lost workers on standard output, where only a command's result belongs.
    with redirect_stdout(sys.stderr):
        try:
            return run(
                job, migration, embedder, replace(options or PassOptions(), copy_step=copy_step)
            )
        finally:
            if started:
                ray.shutdown()


def plan_ranges(state: State, migration: AnyMigration, batch_size: int) -> list[_Row]:
    """Return a row for each key range that is not done; split the source at the first call.

    Args:
        state: Progress; a new pass gets its number of ranges.
        migration: Source and target.
        batch_size: Documents that a range should hold.
    """
    source = migration.source
    if not state.spans:
        wanted = max(1, min(_MOST_RANGES, source.count() // batch_size))
        state.start_step("copy", len(source.key_ranges(wanted)))
    key_ranges = source.key_ranges(state.spans)
    return [
        {
            "part": number,
            "first": key_ranges[number].first,
            "end": key_ranges[number].end,
            "cursor": state.cursors.get(number, ""),
        }
        for number in state.open_ranges()
    ]


def _copy_on_ray(
    ray: Any,
    job: Job,
    state: State,
    migration: AnyMigration,
    cluster: Cluster,
    snapshot: Snapshot,
) -> Iterator[None]:
    rows = plan_ranges(state, migration, job.plan.window)
    if not rows:
        return
    # One process at a time can open a target of the embedded store: from here on, the workers.
    migration.close_endpoints()
    plan = job.plan.model_dump_json()
    limits = job.plan.limits
    shared, own = limits.share(_READERS), limits.share(cluster.workers)
    light = {"batch_size": 1, "concurrency": _READERS, "num_cpus": 0.25}
    heavy = {
        "batch_size": 1,
        "concurrency": cluster.workers,
        "num_cpus": 1 if cluster.gpus else 0.5,
        "num_gpus": cluster.gpus,
    }
    known = ray.remote(num_cpus=0)(_KnownBases).remote()
    for page in snapshot.pages(_BASES_AT_ONCE):
        ray.get(known.put.remote(page))
    dataset = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(_Reader, fn_constructor_args=(plan, shared.source_per_s, known), **light)
        .map_batches(_Embedder, fn_constructor_args=(plan, own.tokens_per_s), **heavy)
        .map_batches(_Writer, fn_constructor_args=(plan, shared.target_per_s), **light)
    )
    try:
        for row in dataset.iter_rows():
            outcome: Outcome
            outcome, bases = pickle.loads(row["outcome"])  # noqa: S301  (our own, from our workers)
            snapshot.put(bases)
            outcome.add_to(state)
            state.finish(int(row["part"]))
            yield
    except ray.exceptions.RayError as error:
        raise ReindexError(
            f"The cluster failed: {str(error).strip().splitlines()[-1][:300]}",
            next_step="Read Ray's log, then continue with: "
            f"lusifer reindex run {job.path} --ray ADDRESS",
        ) from error


class _Worker:
    """Source and target, opened in a worker."""

    def __init__(self, plan: str, per_s: float) -> None:
        from lusifer.reindex.endpoints.factory import open_migration

        self.plan = Plan.model_validate_json(plan)
        self.migration = open_migration(self.plan)
        self.limit = RateLimit(per_s)


class _KnownBases:
    """An actor with what the driver's snapshot held at the beginning of the pass."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def get(self, keys: list[str]) -> dict[str, Base]:
        """Return the bases of those keys that have one."""
        return self.snapshot.get(keys)

    def put(self, bases: dict[str, Base]) -> None:
        """Insert bases."""
        self.snapshot.put(bases)


class _WorkerBases:
    """The snapshot as a worker has it: read from the actor, and collected for the driver."""

    def __init__(self, known: Any, collected: dict[str, Base]) -> None:
        self.known = known
        self.collected = collected

    def get(self, keys: Iterable[str]) -> dict[str, Base]:
        """Return the bases of those keys that have one."""
        found: dict[str, Base] = _import_ray().get(self.known.get.remote(list(keys)))
        return found

    def put(self, bases: Mapping[str, Base]) -> None:
        """Keep bases for the driver."""
        self.collected.update(bases)


class _Reader(_Worker):
    """Turns a key range into the records in it that need a vector."""

    def __init__(self, plan: str, per_s: float, known: Any) -> None:
        super().__init__(plan, per_s)
        self.known = known

    def __call__(self, row: _Row) -> _Row:
        key_range = KeyRange(str(row["first"][0]), str(row["end"][0]))
        batches: list[StaleBatch[object]] = []
        cursor = str(row["cursor"][0]) or None
        bases = _WorkerBases(self.known, {})
        while True:
            # A range that grew is read in batches too, so that no read is unbounded.
            batches.append(read_stale(self.migration, bases, key_range, cursor, self.plan.window))
            self.limit.spend(batches[-1].read)
            cursor = batches[-1].cursor
            if cursor is None:
                break
        found = pickle.dumps((_joined(batches), bases.collected))
        return {"part": row["part"], "found": [found]}


class _Embedder:
    """Adds vectors; holds the model."""

    def __init__(self, plan: str, per_s: float) -> None:
        from lusifer.reindex.endpoints.factory import open_model

        self.embedder = open_model(Plan.model_validate_json(plan).model)
        self.limit = RateLimit(per_s)

    def __call__(self, row: _Row) -> _Row:
        stale: StaleBatch[object]
        stale, bases = pickle.loads(row["found"][0])  # noqa: S301
        embedded = embed(self.embedder, stale.records, self.limit)
        dumped = pickle.dumps((embedded, stale, bases))
        return {"part": row["part"], "found": [dumped]}


class _Writer(_Worker):
    """Writes under the guard and reports what was done."""

    def __call__(self, row: _Row) -> _Row:
        embedded: EmbeddedBatch[object]
        stale: StaleBatch[object]
        embedded, stale, bases = pickle.loads(row["found"][0])  # noqa: S301
        outcome = write(self.migration, _WorkerBases(None, bases), embedded, stale)
        self.limit.spend(outcome.tally.written)
        return {"part": row["part"], "outcome": [pickle.dumps((outcome, bases))]}


def _joined(batches: list[StaleBatch[object]]) -> StaleBatch[object]:
    return StaleBatch(
        read=sum(each.read for each in batches),
        records=[record for each in batches for record in each.records],
        versions={key: version for each in batches for key, version in each.versions.items()},
        bases={key: base for each in batches for key, base in each.bases.items()},
        conflicts=sum(each.conflicts for each in batches),
        cursor=None,
    )


def _import_ray() -> Any:
    try:
        with warnings.catch_warnings():
            # Ray and pandas give deprecation warnings about each other.
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise MissingExtraError(
            f"A cluster needs Ray: {error}.", next_step="Run pip install 'lusifer[reindex]'."
        ) from error
    return ray
