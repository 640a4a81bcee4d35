"""The JSON of ``/local/`` as schemas: what is taken, and what is answered."""

from __future__ import annotations

from typing import Any, Final

from plugin_framework.emulator.local_api.tasks import ID_LIMIT, LATEST, MOST_LINES

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
BIG: Final[Schema] = {**NUMBER, "maximum": 2**63 - 1}
SECONDS: Final[Schema] = {"type": "number"}
ID: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_LIMIT,
    "pattern": r"^[^/\\\u0000-\u001f\u007f]+$",
}


def reference(name: str) -> Schema:
    """One of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(name: str) -> Schema:
    """A list of them."""
    return {"type": "array", "items": reference(name)}


def _maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _object(*optional: str, **properties: Schema) -> Schema:
    """An object of these and no other fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


NEW_TASK: Final = _object(
    *("config", "input", "subtask_id", "task_id"),
    plugin=TEXT,
    config={"type": "object"},
    input=_maybe(TEXT),
    subtask_id=_maybe(ID),
    task_id=_maybe(ID),
)
NEW_LINES: Final[Schema] = {
    "type": "array",
    "maxItems": MOST_LINES,
    "items": _object(
        at={**SECONDS, "minimum": 0, "maximum": LATEST},
        level={**TEXT, "maxLength": 32},
        logger={**TEXT, "maxLength": 256},
        message=TEXT,
    ),
}

_BRIEF: Final[dict[str, Schema]] = {
    "subtask_id": TEXT,
    "task_id": _maybe(TEXT),
    "plugin": _maybe(TEXT),
    "status": {"type": "integer", "minimum": 0, "maximum": 5},
    "status_name": {"enum": ["initial", "running", "paused", "completed", "cancelled", "failed"]},
    "requested": {"enum": [1, 2, 4, None], "description": "asked for, and not yet confirmed"},
    "dispatch": {"enum": ["none", "waiting", "accepted", "refused"]},
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
    "heartbeat_at": _maybe(SECONDS),
    "heartbeat_age": _maybe(SECONDS),
    "created_at": SECONDS,
    "started_at": _maybe(SECONDS),
    "ended_at": _maybe(SECONDS),
    "lost": {"type": "boolean", "description": "nothing came for longer than it may"},
    "lost_at": _maybe(SECONDS),
    "reason": {**_maybe(TEXT), "description": "why it failed, was refused or waits"},
    "input": {
        "anyOf": [_object(name=TEXT, size=_maybe(NUMBER)), {"type": "null"}],
    },
    "revision": NUMBER,
}

COMPONENTS: Final[dict[str, Schema]] = {
    "Brief": _object(**_BRIEF),
    "Task": _object(**_BRIEF, config={"type": "object"}, result=_maybe({"type": "object"})),
    "Tasks": _object(
        tasks=array("Brief"),
        total=NUMBER,
        counts=_object(**{str(status): NUMBER for status in range(6)}),
        next=_maybe(NUMBER),
        revision=NUMBER,
    ),
    "Event": _object(
        number=NUMBER,
        at=SECONDS,
        kind=TEXT,
        detail={"type": "object"},
        code={"type": "integer"},
        message=TEXT,
    ),
    "Line": _object(number=NUMBER, at=SECONDS, level=TEXT, logger=TEXT, message=TEXT),
    "Input": _object(input=TEXT, size=NUMBER),
    "Output": _object(number=NUMBER, name=TEXT, size=NUMBER, href=TEXT),
    "Plugin": _object(
        name=TEXT,
        version=TEXT,
        service=TEXT,
        base=TEXT,
        healthy={"type": "boolean"},
        problem=_maybe(TEXT),
    ),
    "Info": _object(
        version=TEXT,
        url=TEXT,
        auth={"type": "boolean"},
        storage=TEXT,
        dialect=TEXT,
        lost_after=SECONDS,
        page=TEXT,
    ),
    "Error": _object(error=TEXT),
    "Envelope": {
        "type": "object",
        "required": ["code", "msg", "data"],
        "properties": {
            "code": {"type": "integer"},
            "msg": TEXT,
            "data": {"type": ["object", "null"]},
        },
    },
}
