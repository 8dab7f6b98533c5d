"""``lusifer demo``: cross-language search on real text, from nothing."""

from __future__ import annotations

__all__ = ["EXAMPLES", "demo"]

EXAMPLES = ("lusifer demo", "lusifer demo --json")


def demo() -> None:
    """Index English documents and ask questions in other languages."""
