"""The OpenAPI document of the service, from the pydantic models that read the bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.json_schema import models_json_schema

from lusifer._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from starlette.routing import BaseRoute

    from lusifer.service.routing import Operation


__all__ = ["openapi_document"]

_ERRORS = {
    "400": "The body or a text in it can't be used.",
    "401": "The API key is missing or wrong.",
    "403": "A web page of another origin, or a Host that is not allowed.",
    "404": "The model is not served here.",
    "413": "The body, the list or a text is over a limit.",
    "429": "The queue is full. Send the request again after Retry-After.",
    "500": "The model failed.",
    "503": "The service is not ready or overloaded. Send the request again after Retry-After.",
    "504": "The request was not computed in time.",
}


def openapi_document(routes: Iterable[BaseRoute]) -> dict[str, object]:
    """Describe as OpenAPI 3.1 every route that has an ``Operation`` and no path parameter."""
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
    references, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas = {model: references[model, "validation"] for model in models}
    paths: dict[str, dict[str, object]] = {}
    for path, method, operation in operations:
        paths.setdefault(path, {})[method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LUSIFER vectorizer",
            "version": __version__,
            "description": "Texts of any language as unit vectors, over the protocols of vector "
            "databases.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(
    operation: Operation, schemas: Mapping[type[BaseModel], JsonSchemaValue]
) -> dict[str, object]:
    def content(model: type[BaseModel] | None) -> dict[str, object]:
        schema = schemas[model] if model else {"type": "object"}
        return {"application/json": {"schema": schema}}

    answer = content(operation.answer)
    if operation.media_type != "application/json":
        answer = {operation.media_type: {"schema": {"type": "string"}}}
    responses: dict[str, object] = {
        "200": {"description": "The answer.", "content": answer},
        **{
            status: {"description": text, "content": content(None)}
            for status, text in _ERRORS.items()
        },
    }
    described: dict[str, object] = {
        "summary": operation.summary,
        "tags": [operation.dialect.name],
        "security": [] if operation.public else [{"key": []}, {}],
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": content(operation.body)}
    else:
        responses["204"] = {"description": "Yes, without a body."}
    return described
