"""Diagnostics of ``lusifer doctor``: each with its severity and its fix.

The comparisons that the doctors of all databases make are here too.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.stores.metadata import CollectionMetadata

__all__ = [
    "PROBE_QUERY",
    "Diagnostic",
    "Severity",
    "compare_fingerprint",
    "compare_query_vectors",
    "compare_service",
    "error",
    "failure",
    "missing_features",
    "note",
    "ok",
    "version_numbers",
    "warning",
]

Severity = Literal["ok", "note", "warning", "error"]
"""Fine; worth knowing; will fail some day; does not work."""

PROBE_QUERY = "How do I unpack an archive?"
"""Query that is embedded here and by the database's own inference, to compare the two."""

_SAME_SCORE = 1e-4
"""Difference below which two scores of one hit come from the same query vector."""


@dataclass(frozen=True)
class Diagnostic:
    """One thing that was examined."""

    severity: Severity
    """Severity of the diagnostic."""
    subject: str
    """Thing examined, in two words."""
    message: str
    """Result, with its numbers."""
    fix: str = ""
    """Advice in the imperative; empty where nothing needs to be done."""

    def as_dict(self) -> dict[str, str]:
        """Return JSON-ready fields."""
        return asdict(self)


def ok(subject: str, message: str) -> Diagnostic:
    """Report what needs nothing to be done."""
    return Diagnostic("ok", subject, message)


def note(subject: str, message: str, fix: str = "") -> Diagnostic:
    """Report what is worth knowing."""
    return Diagnostic("note", subject, message, fix)


def warning(subject: str, message: str, fix: str) -> Diagnostic:
    """Report what works now and will fail some day."""
    return Diagnostic("warning", subject, message, fix)


def error(subject: str, message: str, fix: str) -> Diagnostic:
    """Report what does not work."""
    return Diagnostic("error", subject, message, fix)


def failure(subject: str, failed: LusiferError) -> Diagnostic:
    """Report an error of ours, with its own next step as the fix."""
    return error(subject, failed.message, failed.next_step)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, such as ``(1, 19, 0)`` for ``v1.19.0-rc1``."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def missing_features(
    version: str, features: Iterable[tuple[tuple[int, ...], str]]
) -> list[tuple[str, str]]:
    """Return what a server of this version lacks.

    Args:
        version: The server's.
        features: Version since which a server has a feature, and what the feature is.

    Returns:
        Version since which a server has it, as text, and what it is.
    """
    numbers = version_numbers(version)
    return [(".".join(map(str, since)), what) for since, what in features if numbers < since]


def compare_fingerprint(
    metadata: CollectionMetadata, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    """Report whether the model here filled a collection; nothing without a model."""
    if embedder is None:
        return
    try:
        metadata.check(fingerprint=embedder.fingerprint, model=embedder.model_name)
    except LusiferError as failed:
        yield failure("fingerprint", failed)
    else:
        yield ok("fingerprint", "the model here is the one that filled it")


def compare_service(url: str, service: Embedder, embedder: Embedder | None) -> Diagnostic:
    """Report which model a service serves, and whether it is the one in use here.

    Args:
        url: Address of the service, as it is shown to people.
        service: The service.
        embedder: The model in use here; None skips the comparison.
    """
    if embedder is not None and service.fingerprint != embedder.fingerprint:
        return error(
            "service",
            f"{url} serves {service.model_name} ({service.fingerprint}), the model here is "
            f"{embedder.model_name} ({embedder.fingerprint}).",
            "Serve the same bundle that is used here.",
        )
    return ok("service", f"{url} serves {service.model_name}, dimension {service.dimension}")


def compare_query_vectors(
    server: float,
    here: float,
    *,
    detail: str,
    fix: str = "Serve the same bundle that is used here.",
) -> Diagnostic:
    """Report whether the database's inference makes the query vector that is made here.

    Args:
        server: Score of the best hit for the vector that the database had made.
        here: Score of the best hit for the vector made here.
        detail: Numbers to show in either case.
        fix: What to do if the two differ.
    """
    # Equal vectors give equal scores; which of two equal documents comes first may differ.
    if abs(server - here) < _SAME_SCORE:
        return ok("inference", f"the server's query vector is the one made here ({detail})")
    return error(
        "inference",
        f"The server's query vector differs from the one made here: scores {server:.4f} and "
        f"{here:.4f} ({detail}).",
        fix,
    )
