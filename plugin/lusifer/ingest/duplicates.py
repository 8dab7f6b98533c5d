"""Finds ids that come twice, in memory that does not grow with their number."""

from __future__ import annotations

import hashlib

from lusifer.common.disk_map import DiskMap

__all__ = ["DuplicateIds"]


class DuplicateIds:
    """Keeps a checksum of each id's content in a private temporary file."""

    def __init__(self) -> None:
        self._contents = DiskMap()

    def clear(self) -> None:
        """Forget all ids."""
        self._contents.close()
        self._contents = DiskMap()

    def is_same(self, id_: str, content: str) -> bool:
        """Record the content of an id; return False if the id came with other content before."""
        key, checksum = (
            hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in (id_, content)
        )
        return self._contents.setdefault(key, checksum) == checksum
