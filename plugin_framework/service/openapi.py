"""The service's own description, for clients and for tests (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugin_framework._version import __version__
from plugin_framework.protocol.models import ID_LIMIT

Schema = dict[str, Any]

_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_LIMIT,
    "pattern": r"^[^/\\\u0000-\u001f\u007f]+$",
}
_REFUSALS = {
    "400": "what is wrong, field by field",
    "401": "the signature is missing, wrong, out of date, or was taken before",
    "403": "without a secret: another host or origin",
    "404": "no such plugin",
    "408": "the body did not arrive in time",
    "411": "a body without a length",
    "413": "the body is larger than 1 MiB",
    "415": "the body is not declared as JSON",
    "500": "the service or the plugin is at fault",
    "503": "busy, or shutting down",
}


def document(plugins: Mapping[str, Schema], *, payments: bool) -> dict[str, Any]:
    """The document of a service of these plugins, each with the schema of its config."""
    only: Schema = next(iter(plugins.values())) if len(plugins) == 1 else {"type": "object"}
    # Its own definitions are referred to from its root.
    definitions = dict(only.get("$defs", {}))
    config = _moved({key: value for key, value in only.items() if key != "$defs"})
    several = len(plugins) > 1
    may_be_null = [] if several else [None]
    named: Schema = {"plugin": {"enum": [*plugins, *may_be_null]}}
    must_name = ["plugin"] if several else []
    paths = {
        "/api/plugin/create_task": _post(
            "Accept a subtask; it is on disk when this is answered, and runs afterwards.",
            {
                "subtask_id": _ID,
                "task_id": {**_ID, "type": ["string", "null"]},
                "config": config,
                "input_files": {},
                **named,
            },
            ["subtask_id", *must_name],
        ),
        "/api/plugin/manage_task": _post(
            "Resume (1), pause (2) or cancel (4) a subtask. Code 1: it is unknown, or has ended.",
            {
                "subtask_id": _ID,
                "status": {"type": "integer", "enum": [1, 2, 4]},
                "plugin": {"enum": [*plugins, None]},
            },
            ["subtask_id", "status"],
        ),
        "/api/plugin/health": _health(list(plugins)),
        "/live": _plain("Whether the process can go on.", "200", "503"),
        "/ready": _plain("Whether subtasks are accepted.", "200", "503"),
    }
    if payments:
        paths["/api/plugin/payment"] = _post(
            "Announce a payment. Code 1: the plugin does not accept it.",
            {"subtask_id": _ID, "tx_hash": _ID, **named},
            ["subtask_id", "tx_hash", *must_name],
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Plugin service: {', '.join(plugins)}", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Envelope": _envelope(), **{k: _moved(v) for k, v in definitions.items()}},
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": name}
                for name in ("D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE")
            },
        },
    }


def _post(summary: str, properties: Schema, required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "post": {
            "summary": summary,
            "security": _signed(),
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"200": _answer("the envelope; code 0 or 1"), **_refusals()},
        }
    }


def _health(names: list[str]) -> dict[str, Any]:
    def parameter(name: str, schema: Schema) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": False, "schema": schema}

    return {
        "get": {
            "summary": "Whether the service takes subtasks, and which plugin it serves.",
            "security": _signed(),
            "parameters": [
                parameter("timestamp", {"type": "string"}),
                parameter("plugin", {"type": "string", "enum": names}),
            ],
            "responses": {"200": _answer("healthy or draining"), **_refusals()},
        }
    }


def _plain(summary: str, *statuses: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {status: {"description": summary, "content": content} for status in statuses}
    return {"get": {"summary": summary, "responses": responses}}


def _signed() -> list[dict[str, list[str]]]:
    return [{"D-API-KEY": [], "D-TIMESTAMP": [], "D-SIGNATURE": []}]


def _refusals() -> dict[str, Any]:
    return {status: _answer(text) for status, text in _REFUSALS.items()}


def _answer(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Envelope"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _envelope() -> Schema:
    return {
        "type": "object",
        "required": ["code", "msg"],
        "properties": {
            "code": {"type": "integer"},
            "msg": {"type": "string"},
            "data": {"type": ["object", "null"]},
            "status": {"enum": ["healthy", "draining"]},
            "plugin": {"type": "object"},
        },
    }


def _moved(schema: Any) -> Any:
    """The schema with its references to ``$defs`` pointing to the components."""
    if isinstance(schema, dict):
        return {key: _moved_reference(key, value) for key, value in schema.items()}
    return [_moved(each) for each in schema] if isinstance(schema, list) else schema


def _moved_reference(key: str, value: Any) -> Any:
    if key == "$ref" and isinstance(value, str):
        return value.replace("#/$defs/", "#/components/schemas/")
    return _moved(value)
