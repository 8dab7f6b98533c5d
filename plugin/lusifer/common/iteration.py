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
        items: Read no further than the current run, or one item more where that was too large.
        count: Largest number of items in a run, from 1.
        size: Returns the size of an item, in any unit such as bytes.
        maximum_size: Largest sum of the sizes in a run. A larger item gets a run of its own. 0 is
            no limit.
    """
    run: list[_Item] = []
    run_size = 0
    for item in items:
        item_size = size(item) if size is not None else 0
        if run and run_size + item_size > maximum_size > 0:
            yield run
            run, run_size = [], 0
        run.append(item)
        run_size += item_size
        # At once: the next item may take long to come.
        if len(run) == count or run_size >= maximum_size > 0:
            yield run
            run, run_size = [], 0
    if run:
        yield run
