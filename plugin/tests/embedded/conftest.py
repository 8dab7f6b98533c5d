from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("qdrant_edge")

from plugin.tests.embedded_index import create, documents
from plugin.tests.store_contract import unit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Return a closed index of 300 documents: two operations, the last one still in the log."""
    with create(tmp_path / "index") as store:
        store.upsert(documents(300), unit(300))
    return tmp_path / "index"
