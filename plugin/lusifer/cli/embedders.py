"""Opens what embeds: a bundle in this process, or a running service."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.cli.common import console
from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.bundle.format import Manifest
    from lusifer.embedding.base import Embedder
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.types import LongTextPolicy

__all__ = ["load_vectorizer", "open_embedder", "read_manifest"]


def load_vectorizer(
    bundle: Path | None,
    *,
    long_text: LongTextPolicy = "truncate",
    dimension: int | None = None,
    quiet: bool = False,
) -> Vectorizer:
    """Load a bundle, with a notice on a terminal: building the default one takes minutes."""
    from lusifer.embedding.vectorizer import Vectorizer

    notice = (
        "Loading the model"
        if bundle
        else "Loading the default model (the first time builds it: minutes)"
    )
    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        return Vectorizer.load(bundle, long_text=long_text, dimension=dimension)
    with terminal.status(notice):
        return Vectorizer.load(bundle, long_text=long_text, dimension=dimension)


def read_manifest(bundle: Path | None) -> Manifest:
    """Read the manifest of a bundle, or of the default one, without loading the model."""
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle

    return Bundle.open(default_bundle() if bundle is None else bundle, verify=False).manifest


@contextmanager
def open_embedder(
    bundle: Path | None,
    service: str | None,
    *,
    dimension: int | None = None,
    stored: tuple[str, int] | None = None,
    long_text: LongTextPolicy = "truncate",
) -> Iterator[Embedder]:
    """Open a bundle in this process, or a running service; close it afterwards.

    Args:
        bundle: Folder of the bundle; None is the default bundle.
        service: URL of the service that embeds instead.
        dimension: Length D of the vectors.
        stored: Fingerprint and dimension of the stored vectors, from :meth:`StoreOptions.stored`.
            Without ``dimension``, vectors get the stored length if the same model made the stored
            ones. Another model keeps its own length, so that opening the store can refuse it.
        long_text: Policy for a text over the token limit.

    Raises:
        InvalidInputError: Both ``bundle`` and ``service`` are given.
        LusiferError: The bundle or the service can't be used.
    """
    if service is None:
        if (
            dimension is None
            and stored is not None
            and stored[0] == read_manifest(bundle).fingerprint
        ):
            dimension = stored[1]
        with load_vectorizer(bundle, dimension=dimension, long_text=long_text) as vectorizer:
            yield vectorizer
        return
    if bundle is not None:
        raise InvalidInputError(
            "Both --bundle and --service are given.", next_step="Give only one of them."
        )
    from lusifer.embedding.remote import RemoteVectorizer

    key = os.environ.get("LUSIFER_API_KEY")
    with RemoteVectorizer(service, api_key=key, dimension=dimension) as remote:
        if dimension is None and stored is not None and stored[0] == remote.fingerprint:
            remote.use_dimension(stored[1])
        yield remote
