"""What turns texts into vectors for the database plugins: a bundle in this process, or a running
service.
"""

from __future__ import annotations

import base64
import random
import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lusifer.common.retry import retry_after_s
from lusifer.common.validation import check_text, vector_fault
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
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from lusifer.types import Role

__all__ = ["RemoteVectorizer"]

_TEXTS_PER_REQUEST = 64
_BYTES_PER_REQUEST = 1024**2


class RemoteVectorizer:
    """Embeds texts through a running ``lusifer serve``; safe to use from several threads.

    Requests that the service can't take now (429, 502, 503, 504, a broken connection) are sent
    again, after the time it asks for.

    Args:
        url: Of the service, such as ``http://localhost:8000``.
        api_key: A key of the service, where it demands one.
        dimension: Length D of the vectors, one of the model's Matryoshka dimensions; by default the
            full one.
        timeout_s: For one request.
        attempts: How often a request is sent before its failure counts.

    Raises:
        EngineUnavailableError: Nothing answers there.
        ServiceError: What answers is no LUSIFER service.
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
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._broken = (httpx.TransportError,)
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidInputError(
                f"The service's address {url!r} can't be used: {error}.",
                next_step="Write it as http://HOST:PORT.",
            ) from error
        try:
            self._meta = self._read_meta()
            self._asked_dimension: int | None = None
            if dimension is not None:
                self.use_dimension(dimension)
        except BaseException:
            self._http.close()
            raise

    @property
    def model_name(self) -> str:
        """The model's name for people."""
        return str(self._meta["model"])

    @property
    def fingerprint(self) -> str:
        """Identity of the model that the service had when this object was made."""
        return str(self._meta["fingerprint"])

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        return self._asked_dimension or int(self._meta["dimension"])

    @property
    def role_prompts(self) -> Mapping[str, str]:
        """What is put before a text of each role."""
        return dict(self._meta["role_prompts"])

    def use_dimension(self, dimension: int) -> None:
        """Answer vectors of another length D from now on.

        Raises:
            InvalidDimensionError: The model was not trained for it.
        """
        valid = self._meta["dimensions"]
        if dimension not in valid:
            raise InvalidDimensionError(
                f"Dimension {dimension} is not one the model {self.model_name} was trained for.",
                next_step=f"Use one of {', '.join(map(str, valid))}.",
            )
        self._asked_dimension = dimension

    def embed_query(self, text: str) -> Embedding:
        """Embed one question; raises as :meth:`embed` does."""
        return self.embed([text], "query")[0]

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        """Embed questions; raises as :meth:`embed` does."""
        return self.embed(texts, "query")

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts that may answer questions; raises as :meth:`embed` does."""
        return self.embed(texts, "document")

    def embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Embed N texts; the answer has vectors ``(N, D)`` in their order.

        Raises:
            InvalidInputError: A text can't be embedded.
            OverloadedError: The service asked to come back later, and went on asking.
            EngineUnavailableError: The service can't be reached.
            EngineOutputError: The answer failed a check.
            FingerprintMismatchError: The service has another model now than when this object was
                made.
            ServiceError: The service refused the request.
        """
        results = list(self._requests(texts, role))
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
        """Embed any number of texts in order; a text that can't be embedded yields its error in its place.

        Raises:
            LusiferError: As :meth:`embed`, for errors that are not about one text.
        """
        chunk: list[str] = []
        for text in texts:
            chunk.append(text)
            if len(chunk) == window:
                yield from self._chunk(chunk, role)
                chunk = []
        yield from self._chunk(chunk, role)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chunk(self, texts: Sequence[str], role: Role) -> Iterator[Embedding | LusiferError]:
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
            # One is too long for the service's policy: ask one by one, so that the others get
            # through.
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

    def _requests(self, texts: Sequence[str], role: Role) -> Iterator[Embedding]:
        part: list[str] = []
        size_bytes = 0
        for text in texts:
            check_text(text)
            text_bytes = len(text.encode())
            if part and (
                len(part) == _TEXTS_PER_REQUEST or size_bytes + text_bytes > _BYTES_PER_REQUEST
            ):
                yield from self._request(part, role)
                part, size_bytes = [], 0
            part.append(text)
            size_bytes += text_bytes
        if part:
            yield from self._request(part, role)

    def _request(self, texts: Sequence[str], role: Role) -> Iterator[Embedding]:
        body: dict[str, Any] = {
            "input": list(texts),
            "model": self.model_name,
            "encoding_format": "base64",
            "input_type": role,
        }
        if self._asked_dimension is not None:
            body["dimensions"] = self._asked_dimension
        answer = self._ask("POST", "/v1/embeddings", body)
        served = (
            answer.get("system_fingerprint", self.fingerprint) if isinstance(answer, dict) else None
        )
        if served != self.fingerprint and served is not None:
            raise FingerprintMismatchError(
                f"The service at {self.url} was started with another model meanwhile: {served}, not "
                f"{self.fingerprint}.",
                next_step="Start it with the model it had, or begin again with a collection of the new one.",
            )
        try:
            items = answer["data"]
            vectors = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in items]
            total_tokens = int(answer["usage"]["total_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            self._nonsense(f"lacks {error}")
        if {vector.shape for vector in vectors} != {(self.dimension,)}:
            lengths = ", ".join(sorted({str(len(vector)) for vector in vectors})) or "no"
            self._nonsense(f"has vectors of {lengths} numbers instead of {self.dimension}")
        if fault := vector_fault(np.stack(vectors), len(texts), self.dimension):
            self._nonsense(f"has {fault}")
        # The protocol counts tokens for a request, not for a text: the first one carries the
        # remainder.
        share, remainder = divmod(total_tokens, len(texts))
        for index, (item, vector) in enumerate(zip(items, vectors, strict=True)):
            tokens = share + (remainder if index == 0 else 0)
            yield Embedding(vector, tokens, bool(item.get("truncated", False)))

    def _nonsense(self, what: str) -> NoReturn:
        raise EngineOutputError(
            f"The service's answer {what}.",
            next_step=f"Check with: curl {self.url}/meta; restart it if need be.",
        )

    def _read_meta(self) -> dict[str, Any]:
        meta = self._ask("GET", "/meta", None)
        if not isinstance(meta, dict) or meta.get("name") != "lusifer":
            raise ServiceError(
                f"What answers at {self.url} is no LUSIFER service.",
                next_step="Start one with: lusifer serve",
            )
        if not {"model", "fingerprint", "dimension", "dimensions", "role_prompts"} <= set(meta):
            raise EngineUnavailableError(
                f"The service at {self.url} is still loading its model.",
                next_step="Try again in a minute.",
            )
        return meta

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        delay_s = 0.5
        for attempt in range(1, self._attempts + 1):
            failure: LusiferError
            wait_s = delay_s
            try:
                response = self._http.request(method, path, json=body)
            except self._broken as error:
                failure = EngineUnavailableError(
                    f"The service at {self.url} can't be reached: {str(error) or type(error).__name__}.",
                    next_step="Start it with: lusifer serve",
                )
            else:
                if response.status_code == 200:
                    try:
                        return response.json()
                    except ValueError:
                        self._nonsense("is not JSON")
                failure = self._failure(response)
                if isinstance(failure, OverloadedError):
                    wait_s = failure.retry_after_s
            if not failure.retryable or attempt == self._attempts:
                raise failure
            # Spread, so that many clients do not come back at the same moment.
            time.sleep(wait_s * random.uniform(1.0, 1.25))  # noqa: S311
            delay_s = min(2 * delay_s, 15.0)
        raise AssertionError("unreachable")

    def _failure(self, response: Any) -> LusiferError:
        try:
            said = response.json()["error"]
            message = said["message"] if isinstance(said, dict) else said
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
            # Of a proxy before the service, or its own deadline: the same request can succeed
            # later.
            return EngineUnavailableError(
                f"The service at {self.url} did not answer in time ({status}): {message}",
                next_step="Look at its load and log, then run again: what was stored is skipped.",
            )
        if status in {400, 413}:
            return InvalidInputError(f"The service refused: {message}", next_step="Mend the text.")
        return ServiceError(
            f"The service at {self.url} answered {status}: {message}",
            next_step="Look into its log, then try again.",
        )
