"""Small indexes of the embedded store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugin.tests.store_contract import FINGERPRINT

from lusifer.embedded.store import EmbeddedStore
from lusifer.types import Document

if TYPE_CHECKING:
    from pathlib import Path


def documents(count: int) -> list[Document]:
    return [Document(str(i), f"text {i}") for i in range(count)]


def create(path: Path, dimension: int = 16, **options: object) -> EmbeddedStore:
    return EmbeddedStore.create(
        path,
        fingerprint=FINGERPRINT,
        dimension=dimension,
        model="tiny",
        **options,  # type: ignore[arg-type]
    )
