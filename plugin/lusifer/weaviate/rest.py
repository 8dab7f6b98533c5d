"""Weaviate's REST API, for what the client's types would change or drop.

The client reads dates as ``datetime``, which has neither nanoseconds nor a year 0, can't read
telephone numbers, and drops settings that it does not know. JSON keeps all of it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from lusifer.weaviate.connection import TIMEOUT_S, client_errors
from lusifer.weaviate.refusals import ERRORS, not_found, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

__all__ = ["RestApi", "rest_by_environment"]


class RestApi:
    """Requests to one server; an answer is whatever JSON the server gives, so ``Any``.

    Args:
        url: Address of the server, such as ``http://localhost:8080``.
        headers: Headers of every request.
        transport: Replaces the network, for tests.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx

        # The client of the package does not read proxies from the environment either.
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/v1",
            headers={"Content-Type": "application/json", **(headers or {})},
            timeout=TIMEOUT_S,
            trust_env=False,
            transport=transport,
        )

    def get(self, path: str, collection: str = "", **parameters: str | int) -> Any:
        """Return the answer to a GET request.

        Args:
            path: Path after ``/v1``.
            collection: Collection of the request, for the errors.
            parameters: Query parameters.

        Raises:
            StoreError: As :func:`lusifer.weaviate.connection.client_errors`.
        """
        return self._send("GET", path, collection, parameters=parameters)

    def send(self, method: str, path: str, body: object, collection: str = "") -> Any:
        """Return the answer to a request with a JSON body; raises as :meth:`get`."""
        return self._send(method, path, collection, body=body)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self,
        method: str,
        path: str,
        collection: str,
        *,
        parameters: Mapping[str, str | int] | None = None,
        body: object = None,
    ) -> Any:
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        with client_errors(collection):
            answer = self._http.request(method, path, params=parameters, content=content)
        if answer.is_success:
            return answer.json() if answer.content.strip() else None
        message = _message_of(answer)
        if answer.status_code in {401, 403}:
            raise ERRORS.unauthorized(message)
        if answer.status_code == 404:
            raise not_found(collection)
        if answer.status_code == 429:
            raise ERRORS.busy(message, None)
        raise refused(message, collection, server=answer.status_code >= 500)


def rest_by_environment(url: str) -> RestApi:
    """Open the REST API with the keys of ``WEAVIATE_API_KEY`` and ``LUSIFER_API_KEY``."""
    headers = {}
    if key := os.environ.get("WEAVIATE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    if key := os.environ.get("LUSIFER_API_KEY"):
        headers["X-Cohere-Api-Key"] = key
    return RestApi(url, headers)


def _message_of(answer: httpx.Response) -> str:
    """Return the server's own words, on one line."""
    try:
        errors = answer.json()["error"]
        message = "; ".join(str(each["message"]) for each in errors)
    except (ValueError, KeyError, TypeError):
        message = answer.text
    return " ".join(message.split())[:500] or f"status {answer.status_code}"
