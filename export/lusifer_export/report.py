"""Fields of the quality gate's report, as ``parity_report.json`` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from lusifer.bundle.format import Precision

__all__ = [
    "GateReport",
    "HubScores",
    "LanguageScores",
    "Measurement",
    "Retrieval",
    "Summary",
    "TokenRange",
]


class Summary(TypedDict):
    """Cosines between the vectors of the model and of the graph."""

    mean: float
    percentile_1: float
    worst: float


class Retrieval(TypedDict):
    """Recall at 1 of a language's translations, before and after the export."""

    questions: int
    pytorch: float
    exported: float
    lost: int
    """Number of queries that found their translation before and do not after."""


class HubScores(TypedDict):
    """How often queries have the same first wrong hit."""

    queries: int
    documents: int
    """Number of documents that are searched."""
    pytorch: float
    """Share of the queries with the most frequent first wrong hit, before the export."""
    exported: float
    """Share of the queries with the most frequent first wrong hit, after the export."""
    skew: float
    """Skew of the 10-occurrences after the export."""


class LanguageScores(Summary):
    """Scores of one language."""

    roles: dict[str, Summary]
    retrieval: Retrieval
    hubness: HubScores


class TokenRange(TypedDict):
    """Lengths of the gate's rows in tokens."""

    shortest: int
    longest: int


class Measurement(Summary):
    """Comparison of a graph with the model that it was exported from."""

    texts: int
    tokens: TokenRange
    alone_against_batch: float
    """Largest difference of any number of a vector between alone and in a batch."""
    alone_against_batch_pytorch: float
    """Largest difference between alone and in a batch for the model itself."""
    roles: dict[str, Summary]
    cases: dict[str, Summary]
    """Scores of the edge cases by name."""
    languages: dict[str, LanguageScores]
    hubness: HubScores


class GateReport(Measurement):
    """Content of ``parity_report.json``."""

    verdict: Literal["passed", "failed"]
    failures: list[str]
    precision: Precision
    engine: str
    bars: dict[str, float]
    """Limits that the precision must keep."""
    versions: dict[str, str]
    """Package versions on the machine that exported."""
    sha256: dict[str, str]
    """Hash of each file of the graph."""
