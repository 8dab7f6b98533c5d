"""Names that requests give a model: ``lusifer/NAME``, with or without its fingerprint.

A name with the fingerprint, such as ``lusifer/lusifer-small@8e3625e6``, is refused wherever another
model of that name is served: the vectors of both have the same length, and nothing else would tell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lusifer.errors import UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_name", "exact_name", "split_name"]

_SHOWN = 8
_EXACT = re.compile(r"(.+)@([0-9a-f]{8,64})")


def exact_name(name: str, fingerprint: str) -> str:
    """Return the name that means this model alone."""
    return f"lusifer/{name}@{fingerprint.removeprefix('sha256:')[:_SHOWN]}"


def split_name(name: str) -> tuple[str, str]:
    """Return a name without its fingerprint, and the first digits of that; empty without one."""
    found = _EXACT.fullmatch(name)
    return (found[1], f"sha256:{found[2]}") if found else (name, "")


def check_name(asked: str, accepted: Sequence[str], fingerprint: str) -> None:
    """Refuse the name of a model that is not served.

    Args:
        asked: Name in a request.
        accepted: Names of the served model, its own first.
        fingerprint: Its fingerprint.

    Raises:
        UnknownModelError: The name is none of them, or another model's fingerprint follows it.
    """
    if asked in accepted:
        return
    name, stated = split_name(asked)
    if name not in accepted:
        raise UnknownModelError(
            f"The model {asked[:200]!r} is not served here.",
            next_step=f"Use {' or '.join(map(repr, accepted))}, or add the name to model_aliases.",
        )
    if not fingerprint.startswith(stated):
        raise UnknownModelError(
            f"The model {asked[:200]!r} is not served here; "
            f"{exact_name(accepted[0], fingerprint)!r} is.",
            next_step="Ask a service of the model that you name, or name this one.",
        )
