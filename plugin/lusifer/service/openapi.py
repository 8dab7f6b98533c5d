"""The OpenAPI document of the service, from the same pydantic models that read the bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from lusifer._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel
    from starlette.routing import BaseRoute

    from lusifer.service.routing import Operation

__all__ = ["openapi_document"]

_ERRORS = {
    "400": "The body or a text in it can't be used.",
    "401": "The API key is missing or wrong.",
    "404": "The model is not served here.",
    "413": "The body, the list or a text is over a limit.",
    "429": "The queue is full; come back after Retry-After.",
    "500": "The model failed.",
    "503": "Not ready, or too much to do; come back after Retry-After.",
    "504": "Not computed in time.",
}


def openapi_document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """OpenAPI 3.1 over every route that has an :class:`~lusifer.service.routing.Operation`."""
    operations: list[tuple[str, str, Operation]] = [
        (route.path, method, route.operation)
        for route in routes
        if hasattr(route, "operation") and hasattr(route, "path") and "{" not in route.path
        for method in sorted(getattr(route, "methods", ()) or ())
        if method != "HEAD"
    ]
    models: list[type[BaseModel]] = []
    for _, _, operation in operations:
        models += [
            model for model in (operation.body, operation.answer) if model and model not in models
        ]
    names, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations:
        paths.setdefault(path, {})[method.lower()] = _described(operation, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LUSIFER vectorizer",
            "version": __version__,
            "description": "Texts of any language as unit vectors, over the protocols of vector databases.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation, names: Any) -> dict[str, Any]:
    def content(model: type[BaseModel] | None) -> dict[str, Any]:
        schema = names[model, "validation"] if model else {"type": "object"}
        return {"application/json": {"schema": schema}}

    answer = content(operation.answer)
    if operation.media_type != "application/json":
        answer = {operation.media_type: {"schema": {"type": "string"}}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [operation.dialect.name],
        "security": [] if operation.public else [{"key": []}, {}],
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            **{
                status: {"description": text, "content": content(None)}
                for status, text in _ERRORS.items()
            },
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": content(operation.body)}
    else:
        described["responses"]["204"] = {"description": "Yes, without a body."}
    return described
