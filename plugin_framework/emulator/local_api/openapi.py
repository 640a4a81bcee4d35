"""The emulator's own description: Datahub's API and ``/local/`` (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugin_framework._version import __version__
from plugin_framework.emulator.local_api.answers import MARK
from plugin_framework.emulator.local_api.schemas import (
    BIG,
    COMPONENTS,
    ID,
    NEW_LINES,
    NEW_TASK,
    NUMBER,
    TEXT,
    array,
    reference,
)
from plugin_framework.emulator.local_api.tasks import LONGEST_PAGE, REQUESTS
from plugin_framework.protocol.models import (
    Heartbeat,
    ResultReport,
    StatusUpdate,
    UploadCompletion,
    UploadRequest,
)

Schema = dict[str, Any]

_SIGNED: Final = ("D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE")
_TASK: Final = "/local/tasks/{id}"
_ERRORS: Final = {
    "400": "a parameter or the body is wrong",
    "403": f"a foreign host or origin, or no header {MARK}",
    "404": "there is no such thing",
    "409": "not in the state it is in",
    "413": "the body is too large",
    "500": "the emulator is at fault",
}


def document(url: str, *, signed: bool) -> dict[str, Any]:
    """The document of an emulator at ``url``; ``signed``: whether it asks for signatures."""
    security: list[Schema] = [{name: [] for name in _SIGNED}] if signed else []
    return {
        "openapi": "3.1.0",
        "info": {"title": "Local Datahub", "version": __version__},
        "servers": [{"url": url}],
        "paths": {**_datahub(security), **_tasks(), **_files(), **_plugins(), **_rest()},
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {
                name: {"type": "apiKey", "in": "header", "name": name} for name in _SIGNED
            },
        },
    }


def _datahub(security: list[Schema]) -> Schema:
    """PROTOCOL.md, part 1."""
    posts: Mapping[str, tuple[str, Schema]] = {
        "upload/init": ("Begin an upload, single or of parts.", _body_of(UploadRequest)),
        "upload/complete": ("Make the object of its parts.", _body_of(UploadCompletion)),
        "update_status": ("Say what the status is now.", _body_of(StatusUpdate)),
        "heartbeat": ("Say that it goes on, and how far it is.", _body_of(Heartbeat)),
        "result": ("Hand in the result; sets status 3.", _body_of(ResultReport)),
    }
    gets = {
        "download/presign": ("Where the input is.", "subtask_id"),
        "notify": ("Which status the task has, or is to have.", "task_id"),
    }
    answers = {
        status: _json(reference("Envelope"), text)
        for status, text in {
            "200": "the envelope; code 1 is a refusal",
            "400": "the request is wrong",
            "401": "the signature is missing, wrong or out of date",
            "413": "the body is too large",
        }.items()
    } | {"403": _json(reference("Error"), "a foreign host or origin")}
    common = {"responses": answers, "security": security, "tags": ["Datahub"]}
    found: Schema = {}
    for name, (summary, schema) in posts.items():
        found[f"/api/task/{name}"] = {
            "post": {"summary": summary, "requestBody": _body(schema), **common}
        }
    for name, (summary, parameter) in gets.items():
        asked = _query(parameter, {**TEXT, "minLength": 1}, required=True)
        found[f"/api/task/{name}"] = {"get": {"summary": summary, "parameters": [asked], **common}}
    return found


def _tasks() -> Schema:
    listed = [
        _query("status", {"type": "integer", "minimum": 0, "maximum": 5}),
        _query("before", BIG),
        _query("limit", {**NUMBER, "maximum": LONGEST_PAGE}),
        _query("search", TEXT),
    ]
    since: list[Schema] = [_query("after", BIG), _query("limit", BIG)]
    task = reference("Task")
    asked = {
        f"{_TASK}/{word}": {
            "post": _call(f"Ask the plugin to {word}.", task, "404", "409", marked=True, of=True)
        }
        for word in REQUESTS
    }
    return {
        "/local/tasks": {
            "get": _call("Tasks, newest first.", reference("Tasks"), "400", parameters=listed),
            "post": _call(
                "Create a task, and have its plugin run it.",
                task,
                *("400", "404", "409", "413"),
                body=NEW_TASK,
                marked=True,
                status="201",
            ),
        },
        _TASK: {"get": _call("All there is to a task.", task, "404", of=True)},
        f"{_TASK}/events": {
            "get": _call(
                "What happened to it, oldest first.",
                array("Event"),
                *("400", "404"),
                parameters=since,
                of=True,
            )
        },
        f"{_TASK}/logs": {
            "get": _call("Its log.", array("Line"), "400", "404", parameters=since, of=True),
            "post": _call(
                "Add to its log.",
                {"type": "object", "properties": {"taken": NUMBER}, "required": ["taken"]},
                *("400", "404", "413"),
                body=NEW_LINES,
                marked=True,
                of=True,
            ),
        },
        f"{_TASK}/result": {
            "get": _call("The result, if there is one.", {"type": "object"}, "404", of=True)
        },
        **asked,
    }


def _files() -> Schema:
    put = _call(
        "Hand in an input file, to be named when a task is created.",
        reference("Input"),
        *("400",),
        parameters=[
            _query("name", {**TEXT, "minLength": 1, "maxLength": 255}, required=True),
        ],
        marked=True,
        status="201",
    )
    put["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    put["responses"] |= {
        "411": _json(reference("Error"), "Content-Length is missing"),
        "507": _json(reference("Error"), "there is no room on the disk"),
    }
    number = {"name": "number", "in": "path", "required": True, "schema": NUMBER}
    return {
        "/local/inputs": {"put": put},
        f"{_TASK}/input": {"get": _download("The input.")},
        f"{_TASK}/outputs": {
            "get": _call("The outputs.", array("Output"), "404", of=True),
        },
        f"{_TASK}/outputs/{{number}}": {"get": _download("An output.", number)},
    }


def _plugins() -> Schema:
    form = {
        "summary": "The script that draws the plugin's form, as a module.",
        "parameters": [
            _path("name"),
            _query("as", {"enum": ["body", "expression", "module"]}),
        ],
        "responses": {
            "200": {"description": "JavaScript", "content": {"text/javascript": {}}},
            **_errors("400", "404", "502"),
        },
        "tags": ["Page"],
    }
    problems = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    url = {"type": "object", "properties": {"url": TEXT}, "required": ["url"]}
    return {
        "/local/plugins": {"get": _call("The plugins.", array("Plugin"))},
        "/local/plugins/{name}/config.js": {"get": form},
        "/local/services": {
            "get": _call("The services, each with its problem, or null.", problems),
            "post": _call(
                "Register a plugin service; answers the plugins it has.",
                array("Plugin"),
                *("400", "413", "502"),
                body={**url, "additionalProperties": False},
                marked=True,
            ),
            "delete": _call(
                "Forget a service.",
                array("Plugin"),
                *("400", "404"),
                parameters=[_query("url", TEXT, required=True)],
                marked=True,
            ),
        },
    }


def _rest() -> Schema:
    stream = {
        "summary": "What changes, as server-sent events: tasks, rates, events, logs, reset.",
        "parameters": [
            _query("task", TEXT),
            *(_query(name, BIG) for name in ("since", "events", "logs")),
            {"name": "Last-Event-ID", "in": "header", "schema": TEXT},
        ],
        "responses": {
            "200": {"description": "a stream without end", "content": {"text/event-stream": {}}},
            **_errors("400", "404"),
        },
        "tags": ["Page"],
    }
    rules = {"type": "object"}
    return {
        "/local/info": {"get": _call("What this emulator is.", reference("Info"))},
        "/local/stream": {"get": stream},
        "/local/chaos": {
            "get": _call("The faults that are set.", rules),
            "put": _call("Set faults.", rules, "400", "413", body=rules, marked=True),
            "delete": _call("Set no faults.", rules, marked=True),
        },
    }


def _call(
    summary: str,
    answer: Schema,
    *errors: str,
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    marked: bool = False,
    of: bool = False,
    status: str = "200",
) -> Schema:
    """``of`` a task; ``marked``: it changes something, and has to say that no other page asks."""
    given = [_path("id")] if of else []
    if marked:
        given.append({"name": MARK, "in": "header", "required": True, "schema": {"const": "1"}})
    call: Schema = {
        "summary": summary,
        "parameters": [*given, *(parameters or [])],
        "responses": {status: _json(answer, summary), **_errors(*errors)},
        "tags": ["Page"],
    }
    if body is not None:
        call["requestBody"] = _body(body)
    return call


def _download(summary: str, *parameters: Schema) -> Schema:
    content: Schema = {"application/octet-stream": {}}
    return {
        "summary": f"{summary} Takes Range.",
        "parameters": [_path("id"), *parameters],
        "responses": {
            "200": {"description": "the bytes", "content": content},
            "206": {"description": "some of the bytes", "content": content},
            "416": {"description": "there are no such bytes"},
            **_errors("404"),
        },
        "tags": ["Page"],
    }


def _errors(*statuses: str) -> Schema:
    wanted = ("403", *statuses)
    texts = {**_ERRORS, "502": "the service does not answer as it should"}
    return {status: _json(reference("Error"), texts[status]) for status in wanted}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _body_of(model: Any) -> Schema:
    """A wire model's schema, without references: each is used once."""
    schema: Schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined: Schema = _inlined(schema, definitions)
    return inlined


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _query(name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": ID}
