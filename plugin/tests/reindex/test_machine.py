"""No sequence of commands loses a write: the state machines, over dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plugin.tests.reindex.memory import MemoryVectorWorld, MemoryWorld
from plugin.tests.reindex_machine import AliasMachine, InPlaceMachine, machine_settings, torture

if TYPE_CHECKING:
    from pathlib import Path

    from plugin.tests.reindex_world import World


class MarkedMachine(AliasMachine):
    """Copies are marked, as on Qdrant and in the embedded store."""

    @staticmethod
    def make_world(folder: Path) -> World:
        return MemoryWorld(clock=False)


class TimedMachine(AliasMachine):
    """Versions have the time of the last write, as on Weaviate."""

    @staticmethod
    def make_world(folder: Path) -> World:
        return MemoryWorld(clock=True)


class VectorMachine(InPlaceMachine):
    """One collection, two vectors."""

    @staticmethod
    def make_world(folder: Path) -> World:
        return MemoryVectorWorld()


@pytest.mark.torture
@pytest.mark.parametrize("machine", [MarkedMachine, TimedMachine, VectorMachine])
def test_torture(machine: Any) -> None:
    torture(machine)


TestMarkedMachine = MarkedMachine.TestCase
TestMarkedMachine.settings = machine_settings(100, 20)
TestTimedMachine = TimedMachine.TestCase
TestTimedMachine.settings = machine_settings(100, 20)
TestVectorMachine = VectorMachine.TestCase
TestVectorMachine.settings = machine_settings(100, 20)
