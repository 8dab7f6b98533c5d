from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from lusifer.service.worker_lanes import WorkerLanes, lane_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def lanes() -> Iterator[WorkerLanes]:
    made = WorkerLanes()
    yield made
    made.close()


def test_the_lane_follows_texts_and_bytes() -> None:
    assert lane_of(1, 100) == "small"
    assert lane_of(1, 2**20) == "large"
    assert lane_of(1000, 2000) == "large"


def test_results_and_errors_come_back(lanes: WorkerLanes) -> None:
    def fail(_: Callable[[], None]) -> int:
        raise ValueError("no")

    assert asyncio.run(lanes.run("small", lambda _: 7)) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(lanes.run("small", fail))


def test_large_work_leaves_small_work_its_threads(lanes: WorkerLanes) -> None:
    gate = threading.Event()

    async def both() -> int:
        large = [asyncio.create_task(lanes.run("large", lambda _: gate.wait(60))) for _ in range(9)]
        small = await lanes.run("small", lambda _: 7)
        gate.set()
        await asyncio.gather(*large)
        return small

    assert asyncio.run(both()) == 7


def test_a_cancelled_call_ends_when_its_work_has_ended(lanes: WorkerLanes) -> None:
    entered, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def work(between: Callable[[], None]) -> None:
        try:
            entered.set()
            gate.wait(60)
            between()
            raise AssertionError("the second slice must not begin")
        finally:
            ended.set()

    async def cancelled() -> None:
        call = asyncio.create_task(lanes.run("small", work))
        await asyncio.to_thread(entered.wait, 60)
        for _ in range(3):
            call.cancel()
            assert not (await asyncio.wait({call}, timeout=0.05))[0]
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert ended.is_set()

    asyncio.run(cancelled())


def test_work_that_has_not_begun_is_dropped(lanes: WorkerLanes) -> None:
    gate = threading.Event()
    began: list[int] = []

    async def dropped() -> None:
        first = asyncio.create_task(lanes.run("parse", lambda _: gate.wait(60)))
        second = asyncio.create_task(lanes.run("parse", lambda _: began.append(2)))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first

    asyncio.run(dropped())
    assert began == []
