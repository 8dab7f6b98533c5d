"""Adapt a model to a team's own texts without training: replace its centre.

The centre that ships is the mean of general English text. The mean of the documents and queries of
a collection is what its vectors share; whether it is the better centre, the measures before and
after show. Only a vector of length D changes: the result is a model of its own, with a fingerprint
of its own.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer._version import __version__
from lusifer.bundle.format import Bundle, ManifestFields, compute_fingerprint, finish_bundle
from lusifer.bundle.probe import read_probe, write_probe
from lusifer.common.hubness import measure_hubness
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected
from lusifer.ingest.sources.source import DocumentSource
from lusifer_export.build import staging_folder
from lusifer_export.errors import ExportError
from lusifer_export.graph_geometry import GraphGeometry
from lusifer_training.geometry import DEFAULT_SHARE, Geometry, centre_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["Adaptation", "TextSample", "adapt_bundle", "adapt_checkpoint", "read_texts"]

FEWEST_TEXTS = 20
"""With fewer texts, a mean depends more on the texts than on what they share."""
HITS = 10
"""Hits of a query that count as occurrences of a document."""
GRAPH_TOLERANCE = 1e-3
"""Largest difference between a vector of the new graph and the same computed beside it."""


@dataclass(frozen=True, slots=True)
class TextSample:
    """A sample of a collection: its documents and, if known, its queries."""

    documents: tuple[str, ...]
    queries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Result of an adaptation.

    Attributes:
        path: The new bundle or checkpoint.
        fingerprint: That of the new bundle; None for a checkpoint.
        table: Measures by row, ``before`` and ``after``: the share of queries whose first hit is
            the most frequent one and the mean cosine of a query to a document, in percent, and the
            skew of the k-occurrences.
    """

    path: Path
    fingerprint: str | None
    table: dict[str, dict[str, float]]


def read_texts(sources: Iterable[str], *, text_field: str = "text", limit: int) -> tuple[str, ...]:
    """Draw texts from sources, all equally likely; records that can't be indexed are left out.

    Args:
        sources: What ``lusifer index`` reads.
        text_field: Field or column with the text.
        limit: Texts at most.

    Raises:
        InvalidInputError: A source can't be read, or there are fewer than 20 texts.
    """
    rng = random.Random(0)  # noqa: S311
    drawn: list[str] = []
    seen = 0
    for source in sources:
        for record in DocumentSource(source, text_field=text_field):
            if isinstance(record, Rejected):
                continue
            seen += 1
            if len(drawn) < limit:
                drawn.append(record.text)
            elif (place := rng.randrange(seen)) < limit:
                drawn[place] = record.text
    if len(drawn) < FEWEST_TEXTS:
        raise InvalidInputError(
            f"There are {len(drawn)} texts in {', '.join(sources)}, at least {FEWEST_TEXTS} are "
            "needed.",
            next_step="Name a source with more texts, and the field that holds them.",
        )
    return tuple(drawn)


def adapt_bundle(
    bundle: Bundle, target: Path, sample: TextSample, *, share: float | None = None
) -> Adaptation:
    """Write a bundle whose centre is the mean of a sample of texts.

    Args:
        bundle: The bundle to adapt; it is unchanged.
        target: Folder of the new bundle; an existing bundle is replaced.
        sample: The collection's texts.
        share: Share of the centre to subtract; by default the bundle's own.

    Raises:
        ExportError: The bundle's model has no centre, or the new graph has other vectors than
            expected.
    """
    graph = GraphGeometry(bundle.model_path)
    before = graph.geometry
    with staging_folder(target) as staging:
        for name in bundle.manifest.files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, staging / name)
        model = staging / bundle.model_path.name
        model.write_bytes(graph.without().SerializeToString())
        engine = OnnxEngine(model)
        with Vectorizer(bundle, engine) as vectorizer:
            embed = _embed_with(vectorizer)
            after, table = _fit(embed, sample, before, before.share if share is None else share)
            right = None
            if bundle.probe_path:
                ids, mask, _ = read_probe(bundle.probe_path)
                right = after.apply(engine.run(ids, mask))
        model.write_bytes(graph.with_centre(after).SerializeToString())
        if right is not None:
            _check_graph(model, ids, mask, right)
            write_probe(staging, ids, mask, right)
        origin = {
            "base": bundle.manifest.fingerprint,
            "centre": hashlib.sha256(after.centre.tobytes()).hexdigest(),
            "centre_share": after.share,
        }
        texts = {"documents": len(sample.documents), "queries": len(sample.queries)}
        report = staging / "parity_report.json"
        gate = json.loads(report.read_text(encoding="utf-8"))
        gate["adapted"] = {**origin, "texts": texts, "table": table}
        report.write_text(json.dumps(gate, indent=2) + "\n", encoding="utf-8")
        fields = bundle.manifest.model_dump(include=set(ManifestFields.model_fields))
        fields |= {
            "fingerprint": compute_fingerprint(origin),
            "created_with": {**bundle.manifest.created_with, "lusifer": __version__},
        }
        written = finish_bundle(staging, target, ManifestFields(**fields))
    return Adaptation(written.path, written.manifest.fingerprint, table)


def adapt_checkpoint(
    checkpoint: Path, target: Path, sample: TextSample, *, share: float | None = None
) -> Adaptation:
    """Write a checkpoint whose centre is the mean of a sample of texts.

    Args:
        checkpoint: The checkpoint to adapt.
        target: Folder to write; may be the same folder.
        sample: The collection's texts.
        share: Share of the centre to subtract; by default the checkpoint's own, or 0.85 where it
            has none.

    Raises:
        TrainingError: The checkpoint or its backbones can't be loaded.
    """
    from lusifer_training.checkpoint import geometry_of, read_adapter, with_geometry
    from lusifer_training.config import read_config
    from lusifer_training.embedders import checkpoint_embedder
    from lusifer_training.geometry import without_languages
    from lusifer_training.language_subspace import IDENTIFIER_NAME, LanguageIdentifier

    config = read_config(checkpoint)
    none = without_languages(np.zeros((config.output_dimension, 0), np.float32))
    before = geometry_of(config, read_adapter(checkpoint)) or none
    after, table = _fit(
        checkpoint_embedder(checkpoint, projected=False),
        sample,
        before,
        share if share is not None else before.share or DEFAULT_SHARE,
    )
    known = (checkpoint / IDENTIFIER_NAME).is_file()
    identifier = LanguageIdentifier.load(checkpoint) if known else None
    texts = {"documents": len(sample.documents), "queries": len(sample.queries)}
    report = {"centre": {"share": after.share, "texts": texts}}
    return Adaptation(with_geometry(checkpoint, target, after, identifier, report), None, table)


def _embed_with(vectorizer: Vectorizer) -> EmbedFunction:
    class Plain:
        identity = vectorizer.fingerprint

        def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
            vectors: Vectors = vectorizer.embed(texts, role).vectors
            return vectors

    return Plain()


def _fit(
    embed: EmbedFunction, sample: TextSample, before: Geometry, share: float
) -> tuple[Geometry, dict[str, dict[str, float]]]:
    """Return the adapted geometry, and the measures before and after."""
    texts: dict[Role, Sequence[str]] = {"document": sample.documents, "query": sample.queries}
    plain = {role: embed(each, role) for role, each in texts.items() if each}
    after = Geometry(centre_of(plain.values()), share, before.basis)
    table = {
        name: _measure({role: geometry.apply(each) for role, each in plain.items()})
        for name, geometry in (("before", before), ("after", after))
    }
    return after, table


def _measure(vectors: dict[Role, Vectors]) -> dict[str, float]:
    documents = vectors["document"]
    own = "query" not in vectors
    cosines = vectors.get("query", documents) @ documents.T
    if own:
        # Each document is a query for its neighbours, not for itself.
        np.fill_diagonal(cosines, -np.inf)
    hits = (-cosines).argsort(axis=1)[:, :HITS]
    hubness = measure_hubness(hits, len(documents))
    return {
        "most_frequent_first_hit": round(100 * hubness.first_share, 1),
        "k_occurrence_skew": round(hubness.skew, 2),
        "mean_cosine": round(100 * float(cosines[np.isfinite(cosines)].mean()), 1),
    }


def _check_graph(
    model: Path,
    ids: NDArray[np.int64],
    mask: NDArray[np.int64],
    right: NDArray[np.float32],
) -> None:
    engine = OnnxEngine(model)
    worst = float(np.abs(engine.run(ids, mask) - right).max())
    engine.close()
    if not worst <= GRAPH_TOLERANCE:
        raise ExportError(
            f"The adapted graph differs by {worst:.1e} from what its centre makes of the plain "
            f"vectors, the limit is {GRAPH_TOLERANCE:.0e}.",
            next_step="Export the bundle again from its checkpoint.",
        )
