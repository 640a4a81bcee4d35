"""What the protocol says of one call taken alone: signature, fields and their types. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.strict_wire import Request

STALE_SECONDS: Final = 300
SIGNING: Final = ("D-API-KEY", "D-TIMESTAMP", "D-SIGNATURE")
INITIAL, RUNNING, PAUSED, COMPLETED, CANCELLED, FAILED = range(6)
TERMINAL: Final = frozenset({COMPLETED, CANCELLED, FAILED})
LEGAL: Final = frozenset(
    {
        (INITIAL, RUNNING),
        (INITIAL, CANCELLED),
        (INITIAL, FAILED),
        (RUNNING, RUNNING),  # a repeat, counted
        (RUNNING, PAUSED),
        (RUNNING, COMPLETED),
        (RUNNING, CANCELLED),
        (RUNNING, FAILED),
        (PAUSED, PAUSED),  # a repeat, counted
        (PAUSED, RUNNING),
        (PAUSED, CANCELLED),
        (PAUSED, FAILED),
    }
)


class BadContent(Exception):  # noqa: N818 - the request is at fault, not the judge
    """A query or body that can't be judged further."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Signed with key and secret; else a bearer token; else nothing (part 3)."""

    key: str | None = None
    secret: str | None = None
    token: str | None = None

    @property
    def signed(self) -> bool:
        return bool(self.key and self.secret)

    def leaks(self, request: Request) -> Iterator[str]:
        """Name what of the credentials stands in a request head that must hold none of it."""
        text = "\n".join([request.target, *(f"{name}: {value}" for name, value in request.headers)])
        for name in ("key", "secret", "token"):
            value = getattr(self, name)
            if value and value in text:
                yield f"the {name} was sent to {request.path}"


def auth_faults(request: Request, body: bytes, given: Credentials, now: float) -> Iterator[str]:
    """Faults of signing (2.1) or of the bearer token. `now`: Unix seconds."""
    bearer = [f"Bearer {given.token}"] if given.token and not given.signed else []
    if request.values("Authorization") != bearer:
        yield "Authorization is missing or wrong" if bearer else "Authorization is not foreseen"
    if given.signed:
        yield from _signature_faults(request, body, given, now)
    else:
        yield from (f"{name} without a key" for name in SIGNING if request.values(name))
    secret = (given.secret or "").encode()
    text = repr((request.target, request.headers)).encode() + body
    if secret and secret in text:
        yield "the secret was sent in clear"


def _signature_faults(
    request: Request, body: bytes, given: Credentials, now: float
) -> Iterator[str]:
    for name in SIGNING:
        if len(request.values(name)) != 1:
            yield f"{name} is missing or doubled"
            return
    key, timestamp, signature = (request.values(name)[0] for name in SIGNING)
    if key != given.key:
        yield "D-API-KEY is wrong"
    if not re.fullmatch("[0-9]{1,12}", timestamp):
        yield "D-TIMESTAMP is no decimal number of seconds"
    elif abs(int(timestamp) - now) > STALE_SECONDS:
        yield "D-TIMESTAMP is stale"
    elif signature not in _signatures(request.query, body, timestamp, given.secret or ""):
        yield "D-SIGNATURE is wrong"


def _signatures(query: str, body: bytes, timestamp: str, secret: str) -> Iterator[str]:
    """Yield the right ones: the text leaves open how JSON writes non-ASCII characters."""
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for ascii_only in (True, False):
        query_json = json.dumps(
            parameters, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only
        )
        message = (query_json.encode() if parameters else b"") + body + timestamp.encode()
        yield hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Field:
    """`allows` takes a JSON value. Types are compared exactly: to Python a bool is an int."""

    meaning: str
    allows: Callable[[Any], bool]
    required: bool = True


def _is_part(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"index", "etag"}
        and type(value["index"]) is int
        and type(value["etag"]) is str
    )


TEXT: Final = Field("a non-empty string", lambda value: type(value) is str and value != "")
OPTIONAL_TEXT: Final = Field(TEXT.meaning, TEXT.allows, required=False)
COUNT: Final = Field("an integer of 0 or more", lambda value: type(value) is int and value >= 0)
NUMBER: Final = Field("an integer", lambda value: type(value) is int)
CHUNK: Final = Field(
    "null or a positive integer",
    lambda value: value is None or (type(value) is int and value > 0),
    required=False,
)
PERCENT: Final = Field(
    "an integer from 0 to 100", lambda value: type(value) is int and 0 <= value <= 100
)
PARTS: Final = Field(
    "a list of parts, each an index and an etag",
    lambda value: type(value) is list and all(map(_is_part, value)),
)
OBJECT: Final = Field("an object", lambda value: type(value) is dict)

Schema = dict[str, Field]
STATUS, HEARTBEAT, RESULT = "/api/task/update_status", "/api/task/heartbeat", "/api/task/result"
INIT, COMPLETE = "/api/task/upload/init", "/api/task/upload/complete"
PRESIGN, NOTIFY = "/api/task/download/presign", "/api/task/notify"


def schemas(names: str) -> dict[tuple[str, str], Schema]:
    """Return the fields of every call by method and path; `names` as in part 3."""
    name, size = {"sample": ("file_name", "file_size"), "joined": ("filename", "filesize")}[names]
    subtask = {"subtask_id": TEXT}
    upload = {name: TEXT, size: COUNT, "chunk_size": CHUNK, "file_md5": OPTIONAL_TEXT}
    parts = {"upload_id": TEXT, "parts": PARTS, "file_name": OPTIONAL_TEXT}
    return {
        ("POST", INIT): subtask | upload,
        ("POST", COMPLETE): subtask | parts,
        ("GET", PRESIGN): subtask,
        ("POST", STATUS): subtask | {"status": NUMBER},
        ("POST", HEARTBEAT): subtask | {"timestamp": NUMBER, "process": PERCENT},
        ("POST", RESULT): subtask | {"result": OBJECT},
        ("GET", NOTIFY): {"task_id": TEXT},
    }


def content_faults(content: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    """Faults of the fields of one query or body."""
    for name, field in schema.items():
        if name not in content:
            if field.required:
                yield f"{name} is missing"
        elif not field.allows(content[name]):
            yield f"{name} is not {field.meaning}"
    yield from (f"{name} is no field of this call" for name in content if name not in schema)


def parse_content(request: Request, body: bytes) -> dict[str, Any]:
    """Return the parameters of a GET or the JSON object of a POST. Raises BadContent."""
    if request.method == "GET":
        return _unique(parse_qsl(request.query, keep_blank_values=True))
    if request.query:
        raise BadContent("a query beside a body")
    if any(kind.split(";")[0] != "application/json" for kind in request.values("Content-Type")):
        raise BadContent("Content-Type is not application/json")
    try:
        parsed = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        # Infinity written as 1e999, and lone surrogates, get past the parser alone.
        json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise BadContent("the body is no JSON") from None
    if type(parsed) is not dict:
        raise BadContent("the body is no JSON object")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise BadContent("a name is given twice")
    return content


def _no_constant(name: str) -> None:
    raise BadContent(f"{name} is no JSON")
