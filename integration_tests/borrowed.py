"""The default model that all tests share, protected from a service that would close it."""

from __future__ import annotations

from lusifer.embedding.vectorizer import Vectorizer


class Borrowed(Vectorizer):
    """The shared vectorizer with a ``close`` that does nothing."""

    def __init__(self, lender: Vectorizer) -> None:
        super().__init__(lender.bundle, lender.engine)

    def close(self) -> None:
        pass
