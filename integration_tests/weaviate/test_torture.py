"""Re-embeds collections with every setting and type under writes and kills: ``make torture``.

The machine writes to both sides at any moment, kills commands, goes back and switches again. Each
time it looks, every object is compared with what was written, to the last field. It goes on, with
other choices each time, until ``LUSIFER_TORTURE_S`` seconds are over. A failure names its seed:
``LUSIFER_TORTURE_SEED`` begins with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from integration_tests.weaviate.rich_world import RichVectorWorld, RichWorld
from integration_tests.weaviate_server import RunningWeaviate
from plugin.tests.reindex_machine import AliasMachine, InPlaceMachine, machine_settings

SECONDS = float(os.environ.get("LUSIFER_TORTURE_S", "0"))
FIRST_SEED = int(os.environ.get("LUSIFER_TORTURE_SEED") or time.time())
STEPS = 15
WRITES_BETWEEN_KILLS = 10

pytestmark = [
    pytest.mark.torture,
    # A restart of the server leaves connections behind.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Machine = Callable[[RunningWeaviate, httpx.Client], type[Any]]


@pytest.fixture
def http(own_weaviate: RunningWeaviate, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    own_weaviate.run_with(OBJECTS_TTL_DELETE_SCHEDULE="@daily", ENABLE_TOKENIZER_KAGOME_KR="true")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(own_weaviate.grpc_port))
    # No connection outlives a request: the server is killed in between.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=f"{own_weaviate.url}/v1", timeout=60, limits=limits) as made:
        yield made


def alias_machine(*, tenants: bool) -> Machine:
    def make(server: RunningWeaviate, http: httpx.Client) -> type[AliasMachine]:
        class Made(AliasMachine):
            @staticmethod
            def make_world(folder: Path) -> Any:
                return RichWorld(server.url, http, tenants=tenants)

        return Made

    return make


def killed_server(server: RunningWeaviate, http: httpx.Client) -> type[AliasMachine]:
    """Return a machine that kills the server, too: in the middle of commands, and between them."""

    class Made(alias_machine(tenants=True)(server, http)):  # type: ignore[misc]
        writes = 0

        def applications(self, writes: list[tuple[str, str, bool]]) -> None:
            self.writes += 1
            if self.writes % WRITES_BETWEEN_KILLS == 0:
                server.kill()
                server.start()
            super().applications(writes)

    return Made


def vector_machine(server: RunningWeaviate, http: httpx.Client) -> type[InPlaceMachine]:
    class Made(InPlaceMachine):
        @staticmethod
        def make_world(folder: Path) -> Any:
            return RichVectorWorld(server.url, http)

    return Made


MACHINES = {
    "alias": alias_machine(tenants=False),
    "alias, tenants": alias_machine(tenants=True),
    "alias, the server is killed": killed_server,
    "in place": vector_machine,
}


@pytest.mark.parametrize("way", MACHINES)
def test_nothing_is_lost_and_nothing_changed(
    own_weaviate: RunningWeaviate, http: httpx.Client, way: str
) -> None:
    end_s = time.monotonic() + SECONDS / len(MACHINES)
    machine = MACHINES[way](own_weaviate, http)
    chosen = settings(
        machine_settings(1, STEPS),
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
        # Prints the first error: where a kill falls elsewhere in the replay, only that shows it.
        verbosity=Verbosity.verbose,
    )
    number = FIRST_SEED
    while time.monotonic() < end_s:
        try:
            run_state_machine_as_test(seed(number)(machine), settings=chosen)
        except BaseException as error:
            error.add_note(f"LUSIFER_TORTURE_SEED={number}")
            raise
        number += 1
