"""What Datahub sends (PROTOCOL.md, 2.2, 2.3 and 2.5), read without any leniency."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from plugin_framework.protocol.models import ID_LIMIT, ID_PATTERN, TaskStatus
from plugin_framework.service.answers import Refused

DEPTH_LIMIT = 64
"""How deep arrays and objects may be nested."""

Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=ID_LIMIT, pattern=ID_PATTERN)
]


class Message(BaseModel):
    """A request's body. Unknown fields are ignored; input never shows in errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="ignore", strict=True, frozen=True, hide_input_in_errors=True
    )

    plugin: str | None = None


class CreateTask(Message):
    """Body of create_task. ``input_files`` may be there too: downloads are asked for by subtask."""

    subtask_id: Identifier
    task_id: Identifier | None = None
    config: dict[str, Any] = Field(default_factory=dict)


def _known_status(status: int) -> int:
    if status not in {TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.CANCELLED}:
        raise ValueError("must be 1 (resume), 2 (pause) or 4 (cancel)")
    return status


class ManageTask(Message):
    """Body of manage_task."""

    subtask_id: Identifier
    status: Annotated[int, AfterValidator(_known_status)]


class Payment(Message):
    """Body of payment."""

    subtask_id: Identifier
    tx_hash: Identifier


M = TypeVar("M", bound=Message)


def read(model: type[M], body: bytes) -> M:
    """The message in a body.

    Raises:
        Refused: with 400, naming each field that is wrong.
    """
    try:
        return model.model_validate(_object(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found]
        raise Refused(400, "; ".join(problems), problems=problems) from None


def _object(body: bytes) -> dict[str, Any]:
    """A JSON object as the RFC has it: no repeated keys, no NaN, no lone surrogates."""
    try:
        parsed = json.loads(
            body.decode(),
            object_pairs_hook=_without_repeats,
            parse_constant=_finite,
            parse_float=_finite,
        )
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, json.JSONDecodeError | _RepeatError) else "no JSON text"
        raise Refused(400, f"the body is not JSON: {reason}") from None
    if not isinstance(parsed, dict):
        raise Refused(400, "the body must be a JSON object")
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT and _depth(parsed) > DEPTH_LIMIT:
        raise Refused(400, f"the body is nested more than {DEPTH_LIMIT} deep")
    return parsed


class _RepeatError(ValueError):
    """A key is there twice."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatError("a key is repeated")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a number that JSON has")
    return number


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        level = [one for one in inner if isinstance(one, dict | list)]
    return deepest
