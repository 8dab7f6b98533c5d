"""The one way to cut a stream into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["chunked"]

_Item = TypeVar("_Item")


def chunked(
    items: Iterable[_Item],
    count: int,
    *,
    size: Callable[[_Item], int] | None = None,
    maximum_size: int = 0,
) -> Iterator[list[_Item]]:
    """Yield runs of at most ``count`` items, in order; no run is empty.

    Args:
        items: Read one run ahead, no further.
        count: Items of a run at most, from 1.
        size: Of an item, in any unit such as bytes.
        maximum_size: Sum of the sizes of a run at most; an item above it gets a run of its own.
    """
    run: list[_Item] = []
    run_size = 0
    for item in items:
        item_size = size(item) if size is not None else 0
        if run and (len(run) == count or run_size + item_size > maximum_size > 0):
            yield run
            run, run_size = [], 0
        run.append(item)
        run_size += item_size
    if run:
        yield run
