"""The default model, shared by all tests, lent to a service that would close it."""

from __future__ import annotations

from lusifer.embedding.vectorizer import Vectorizer


class Borrowed(Vectorizer):
    """The shared vectorizer, which a service must not close."""

    def __init__(self, lender: Vectorizer) -> None:
        super().__init__(lender.bundle, lender.engine)

    def close(self) -> None:
        pass
