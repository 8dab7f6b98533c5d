"""An embedder that sends texts to a running vectorizer service."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NoReturn, TypedDict, cast

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.retry import call_with_retry, retry_after_s
from lusifer.common.urls import without_key
from lusifer.common.validation import check_text, vector_fault
from lusifer.embedding.base import BaseEmbedder
from lusifer.errors import (
    EngineOutputError,
    EngineUnavailableError,
    FingerprintMismatchError,
    InvalidDimensionError,
    InvalidInputError,
    LusiferError,
    MissingExtraError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
)
from lusifer.types import Embedding, Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NotRequired

    import httpx
    from numpy.typing import NDArray

    from lusifer.types import JSON, Role

__all__ = ["RemoteVectorizer"]

_TEXTS_PER_REQUEST = 64
_BYTES_PER_REQUEST = 1024**2
_FIRST_DELAY_S = 0.5
_FIRST_ATTEMPTS = 3
"""How often an address is tried that never answered. A service that has answered before is given
more time: it may be starting again."""


class _Metadata(TypedDict):
    """Fields of ``/meta`` that are used here."""

    model: str
    fingerprint: str
    dimension: int
    dimensions: list[int]
    role_prompts: dict[str, str]


class _Vector(TypedDict):
    embedding: str
    """Little-endian float32 numbers in base64."""
    truncated: NotRequired[bool]


class _Usage(TypedDict):
    total_tokens: int


class _Answer(TypedDict):
    """Fields of ``/v1/embeddings`` that are used here; a wrong answer may lack them."""

    data: list[_Vector]
    usage: _Usage


class RemoteVectorizer(BaseEmbedder):
    """Embeds texts through a running ``lusifer serve``; safe to use from several threads.

    A request is sent again if the service can't take it now: after 429, 502, 503 or 504, and after
    a broken connection. The pause is the time that the service asks for.

    Args:
        url: Address of the service, such as ``http://localhost:8000``.
        api_key: Key of the service, where it demands one.
        dimension: Length D of the vectors, one of the model's Matryoshka dimensions; by default the
            full one.
        timeout_s: Time limit for one request.
        attempts: How often a request is sent before its failure counts.

    Raises:
        EngineUnavailableError: Nothing answers there.
        ServiceError: What answers is not a LUSIFER service.
        UnauthorizedError: The key is missing or wrong.
        InvalidDimensionError: The model was not trained for this dimension.
        MissingExtraError: ``httpx`` is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        dimension: int | None = None,
        timeout_s: float = 120,
        attempts: int = 8,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError(
                f"A remote service needs httpx: {error}.",
                next_step="Run pip install 'lusifer[qdrant]'.",
            ) from error
        self._attempts = attempts
        self._reached = False
        self.url = without_key(url).rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._connection_error = httpx.TransportError
        try:
            self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInputError(
                f"The service's address {self.url!r} can't be used: {error}.",
                next_step="Write it as http://HOST:PORT.",
            ) from error
        try:
            self._metadata = self._read_metadata()
            self._reached = True
            self._asked_dimension: int | None = None
            if dimension is not None:
                self.use_dimension(dimension)
        except BaseException:
            self._http.close()
            raise

    @property
    def model_name(self) -> str:
        """Display name of the model."""
        return self._metadata["model"]

    @property
    def fingerprint(self) -> str:
        """Identity of the model that the service had when this object was made."""
        return self._metadata["fingerprint"]

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        return self._asked_dimension or self._metadata["dimension"]

    @property
    def role_prompts(self) -> Mapping[str, str]:
        """Prompt that precedes a text, by role."""
        return dict(self._metadata["role_prompts"])

    def use_dimension(self, dimension: int) -> None:
        """Return vectors of another length D from now on.

        Raises:
            InvalidDimensionError: The model was not trained for it.
        """
        valid = self._metadata["dimensions"]
        if dimension not in valid:
            raise InvalidDimensionError(
                f"Dimension {dimension} is not one the model {self.model_name} was trained for.",
                next_step=f"Use one of {', '.join(map(str, valid))}.",
            )
        self._asked_dimension = dimension

    def embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Embed N texts and return vectors ``(N, D)`` in their order.

        Raises:
            InvalidInputError: A text can't be embedded.
            OverloadedError: The service was still busy at the last attempt.
            EngineUnavailableError: The service can't be reached.
            EngineOutputError: The answer failed a check.
            FingerprintMismatchError: The service has another model than when this object was made.
            ServiceError: The service refused the request.
        """
        parts = chunked(
            texts, _TEXTS_PER_REQUEST, size=_checked_bytes, maximum_size=_BYTES_PER_REQUEST
        )
        results = [result for part in parts for result in self._request(part, role)]
        if not results:
            return Embeddings(np.zeros((0, self.dimension), dtype=np.float32), (), ())
        return Embeddings(
            np.stack([each.vector for each in results]),
            tuple(each.tokens for each in results),
            tuple(each.truncated for each in results),
        )

    def stream(
        self, texts: Iterable[str], role: Role, *, window: int = 512
    ) -> Iterator[Embedding | LusiferError]:
        """Embed any number of texts, in order; a text that can't be embedded yields its error.

        Raises:
            LusiferError: As :meth:`embed`, for errors that are not about one text.
        """
        for part in chunked(texts, window):
            yield from self._embed_part(part, role)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _embed_part(self, texts: Sequence[str], role: Role) -> Iterator[Embedding | LusiferError]:
        good: list[str] = []
        outcomes: list[LusiferError | None] = []
        for text in texts:
            try:
                check_text(text)
            except InvalidInputError as error:
                outcomes.append(error)
            else:
                good.append(text)
                outcomes.append(None)
        try:
            embedded = iter(self.embed(good, role))
        except InvalidInputError:
            # One is too long for the service's policy: alone, the others get through.
            for text, outcome in zip(texts, outcomes, strict=True):
                if outcome is not None:
                    yield outcome
                    continue
                try:
                    yield self.embed([text], role)[0]
                except InvalidInputError as error:
                    yield error
            return
        for outcome in outcomes:
            yield next(embedded) if outcome is None else outcome

    def _request(self, texts: Sequence[str], role: Role) -> Iterator[Embedding]:
        body: dict[str, JSON] = {
            "input": list(texts),
            "model": self.model_name,
            "encoding_format": "base64",
            "input_type": role,
        }
        if self._asked_dimension is not None:
            body["dimensions"] = self._asked_dimension
        raw = self._fetch("POST", "/v1/embeddings", body)
        served = raw.get("system_fingerprint") if isinstance(raw, dict) else None
        if served not in (None, self.fingerprint):
            raise FingerprintMismatchError(
                f"The service at {self.url} was started with another model meanwhile: {served}, "
                f"not {self.fingerprint}.",
                next_step="Start it with the model it had, or begin again with a collection of the "
                "new one.",
            )
        answer = cast("_Answer", raw)
        try:
            items = answer["data"]
            vectors = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in items]
            total_tokens = int(answer["usage"]["total_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            self._refuse_answer(f"lacks {error}")
        self._check_vectors(vectors, len(texts))
        # The protocol counts the tokens of a request: the first text carries the remainder.
        share, remainder = divmod(total_tokens, len(texts))
        for index, (item, vector) in enumerate(zip(items, vectors, strict=True)):
            tokens = share + (remainder if index == 0 else 0)
            yield Embedding(vector, tokens, bool(item.get("truncated", False)))

    def _check_vectors(self, vectors: Sequence[NDArray[np.float32]], count: int) -> None:
        if len(vectors) != count:
            self._refuse_answer(f"has {len(vectors)} vectors for {count} texts")
        lengths = {len(vector) for vector in vectors}
        if lengths != {self.dimension}:
            shown = ", ".join(map(str, sorted(lengths)))
            self._refuse_answer(f"has vectors of {shown} numbers, not {self.dimension}")
        if fault := vector_fault(np.stack(vectors), count, self.dimension):
            self._refuse_answer(f"has {fault}")

    def _refuse_answer(self, fault: str) -> NoReturn:
        raise EngineOutputError(
            f"The service's answer {fault}.",
            next_step=f"Check with: curl {self.url}/meta; restart it if need be.",
        )

    def _read_metadata(self) -> _Metadata:
        metadata = self._fetch("GET", "/meta", None)
        if not isinstance(metadata, dict) or metadata.get("name") != "lusifer":
            raise ServiceError(
                f"What answers at {self.url} is no LUSIFER service.",
                next_step="Start one with: lusifer serve",
            )
        if not {"model", "fingerprint", "dimension", "dimensions", "role_prompts"} <= set(metadata):
            raise EngineUnavailableError(
                f"The service at {self.url} is still loading its model.",
                next_step="Try again in a minute.",
            )
        return cast("_Metadata", metadata)

    def _fetch(self, method: str, path: str, body: Mapping[str, JSON] | None) -> JSON:
        """Send a request until it succeeds, up to ``attempts`` times; return the JSON answer."""
        return call_with_retry(
            lambda: self._send(method, path, body),
            retry_for_s=None,
            attempts=self._attempts,
            first_delay_s=_FIRST_DELAY_S,
            should_retry=self._may_retry(),
        )

    def _may_retry(self) -> Callable[[LusiferError], bool]:
        """Return what decides about a retry; an address that never answered is soon given up."""
        failures = 0

        def decide(error: LusiferError) -> bool:
            nonlocal failures
            failures += isinstance(error.__cause__, self._connection_error)
            return error.retryable and (self._reached or failures < _FIRST_ATTEMPTS)

        return decide

    def _send(self, method: str, path: str, body: Mapping[str, JSON] | None) -> JSON:
        try:
            response = self._http.request(method, path, json=body)
        except self._connection_error as error:
            reason = str(error) or type(error).__name__
            raise EngineUnavailableError(
                f"The service at {self.url} can't be reached: {reason}.",
                next_step="Start it with: lusifer serve",
            ) from error
        if response.status_code != 200:
            raise self._failure(response)
        try:
            return cast("JSON", response.json())
        except ValueError:
            self._refuse_answer("is not JSON")

    def _failure(self, response: httpx.Response) -> LusiferError:
        try:
            reported = response.json()["error"]
            message = reported["message"] if isinstance(reported, dict) else reported
        except (ValueError, KeyError, TypeError):
            message = response.text[:200] or "no message"
        status = response.status_code
        if status in {429, 503}:
            return OverloadedError(
                f"The service at {self.url} is busy ({status}): {message}",
                next_step="Run again later, or give the service more machines.",
                retry_after_s=retry_after_s(response.headers) or 1.0,
            )
        if status == 401:
            return UnauthorizedError(
                f"The service at {self.url} refuses the key: {message}",
                next_step="Set LUSIFER_API_KEY to a key made with: lusifer keys add",
            )
        if status in {502, 504}:
            # From a proxy before the service, or from its own deadline: a retry can succeed.
            return EngineUnavailableError(
                f"The service at {self.url} did not answer in time ({status}): {message}",
                next_step="Look at its load and log, then run again: what was stored is skipped.",
            )
        if status in {400, 413}:
            return InvalidInputError(
                f"The service refused the request ({status}): {message}", next_step="Fix the text."
            )
        return ServiceError(
            f"The service at {self.url} answered {status}: {message}",
            next_step="Look into its log, then try again.",
        )


def _checked_bytes(text: str) -> int:
    """Return the size of a text in UTF-8, and refuse one that can't be embedded."""
    check_text(text)
    return len(text.encode())
