"""The rules of chaos: what goes wrong, for which requests, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from plugin_framework.emulator.chaos.target import (
    API,
    CALLS,
    GROUPS,
    INCOMING,
    METHODS,
    SERVICE,
    STORAGE,
    Target,
)

_LONGEST_TEXT: Final = 200
_HEADER_TEXT: Final = re.compile(r"[\x20-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a field takes, as error lines and the reference say it."""

    text: str


def refused(expected: str) -> PydanticCustomError:
    """The error for a value, in the words that a line ends with."""
    return PydanticCustomError("chaos", "expected {expected}", {"expected": expected})


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _header_text(value: object) -> object:
    if isinstance(value, str) and not _HEADER_TEXT.fullmatch(value):
        raise refused("seconds, or up to 200 printable ASCII characters")
    return value


Call: TypeAlias = Literal[
    "upload_init",
    "upload_complete",
    "download_presign",
    "update_status",
    "heartbeat",
    "result",
    "notify",
    "get",
    "put",
    "create_task",
    "manage_task",
    "api",
    "storage",
    "service",
]
Pattern: TypeAlias = Annotated[
    Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)] | None,
    Expected("a pattern, such as report-*.csv"),
]
Seconds: TypeAlias = Annotated[
    float, Field(ge=0, le=86400), Expected("a number from 0 to 86400 (seconds)")
]
Count: TypeAlias = Annotated[int, Field(ge=0), Expected("a whole number of 0 or more")]
FromOne: TypeAlias = Annotated[int, Field(ge=1), Expected("a whole number of 1 or more")]
Flag: TypeAlias = Annotated[bool, Expected("true or false")]
Text: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=_LONGEST_TEXT), Expected("a text of 1 to 200 characters")
]


class Rule(BaseModel):
    """What all rules have: of which requests, and when. All that is given must hold."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        use_attribute_docstrings=True,
        defer_build=True,
    )
    applies: ClassVar[tuple[str, ...]] = INCOMING
    """The calls that the fault makes sense for."""
    usual: ClassVar[tuple[str, ...] | None] = None
    """The calls that are meant where none is named; None: all incoming ones that it applies to."""
    ends: ClassVar[bool] = True
    """Whether the fault is what becomes of the request, so that no later one can be."""

    name: Annotated[
        str, Field(max_length=_LONGEST_TEXT), Expected("a text that no other rule has for a name")
    ] = ""
    """What the rule is called in counters and events; else its fault and its number."""
    call: Annotated[
        tuple[Call, ...],
        BeforeValidator(_listed),
        Expected(f"one or more of {', '.join((*GROUPS, *CALLS))}"),
    ] = ()
    """The calls it is for, or groups of them; else all that the fault makes sense for."""
    method: Annotated[Literal["GET", "POST", "PUT"] | None, Expected("GET, POST or PUT")] = None
    """The HTTP method."""
    subtask: Pattern = None
    """The subtask's id; `*` and `?` stand for anything."""
    object: Pattern = None
    """The file's name, or the object's key; `*` and `?` stand for anything."""
    part: Annotated[
        tuple[Annotated[int, Field(ge=1, le=10_000)], ...],
        BeforeValidator(_listed),
        Expected("one or more part numbers from 1 to 10000"),
    ] = ()
    """The numbers of the parts of an upload."""
    skip: Count = 0
    """So many requests go through at first."""
    every: FromOne = 1
    """Of the rest, only every Nth is hit; 1 is all of them."""
    probability: Annotated[
        float, Field(gt=0, le=1), Expected("a number greater than 0, at most 1")
    ] = 1.0
    """How likely each of those is hit. Seeded: the same numbers at every run."""
    count: Annotated[FromOne | None, Expected("a whole number of 1 or more")] = None
    """So many are hit at the most."""
    each: Annotated[
        Literal["subtask", "object", "part"] | None, Expected("subtask, object or part")
    ] = None
    """`skip`, `every`, `probability` and `count` hold for each of these by itself."""
    from_: Seconds = Field(0.0, alias="from")
    """Seconds until it begins."""
    until: Annotated[Seconds | None, Expected("a number greater than from (seconds)")] = None
    """Seconds until it is over."""
    repeat: Annotated[Seconds | None, Expected("a number of at least until (seconds)")] = None
    """After so many seconds `from` and `until` are counted anew, again and again."""
    clock: Annotated[Literal["set", "start"], Expected("set or start")] = "set"
    """Whether seconds count from when the rule was set, or from the emulator's start."""

    @property
    def fault_name(self) -> str:
        """Which fault it is."""
        fault: str = self.__dict__["fault"]
        return fault

    @property
    def calls(self) -> frozenset[str]:
        """The calls it is for, one by one."""
        given = self.call or self.usual or tuple(set(self.applies) & set(INCOMING))
        return frozenset(one for name in given for one in GROUPS.get(name, (name,))) & frozenset(
            self.applies
        )

    def matches(self, target: Target) -> bool:
        """Whether a request is one that the rule is for."""
        return (
            target.call in self.calls
            and self.method in (None, target.method)
            and _fits(self.subtask, target.subtask)
            and _fits(self.object, target.name, target.key)
            and (not self.part or target.part in self.part)
        )

    def holds_at(self, seconds: float) -> bool:
        """Whether its time has come, so many seconds after its clock's beginning."""
        if self.repeat:
            seconds %= self.repeat
        return self.from_ <= seconds and (self.until is None or seconds < self.until)

    def as_json(self) -> dict[str, Any]:
        """The rule as it is written, without what goes without saying."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def own_fields(self) -> dict[str, Any]:
        """The fault, and what is given of the fields that only it has."""
        general = {info.alias or name for name, info in Rule.model_fields.items()}
        return {name: value for name, value in self.as_json().items() if name not in general}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.call:
            if not set(GROUPS.get(name, (name,))) & set(self.applies):
                raise PydanticCustomError(
                    "chaos_call", "{call}", {"call": name, "applies": ", ".join(self.applies)}
                )
        if self.method and self.method not in map(METHODS.__getitem__, self.calls):
            raise PydanticCustomError("chaos_method", "method")
        if self.part and "put" not in self.calls:
            raise PydanticCustomError("chaos_part", "part")
        if self.until is not None and self.until <= self.from_:
            raise PydanticCustomError("chaos_until", "until")
        if self.repeat is not None and (not self.repeat or self.repeat < (self.until or 0)):
            raise PydanticCustomError("chaos_repeat", "repeat")
        return self


def _fits(pattern: str | None, *values: str) -> bool:
    return pattern is None or any(value and fnmatchcase(value, pattern) for value in values)


class Delay(Rule):
    """Waits."""

    applies: ClassVar[tuple[str, ...]] = CALLS
    usual: ClassVar[tuple[str, ...] | None] = INCOMING
    ends = False

    fault: Literal["delay"]
    seconds: Seconds
    """How long."""
    at: Annotated[Literal["request", "body", "answer"], Expected("request, body or answer")] = (
        "request"
    )
    """Before anything is done, in the middle of the file's or the answer's body, or when all is
    done, before the answer."""


class Trickle(Rule):
    """Lets the file's or the answer's body through slowly."""

    ends = False

    fault: Literal["trickle"]
    bytes_per_second: FromOne
    """How slowly."""


class Answering(Rule):
    """A rule whose fault takes the place of the answer."""

    applied: Flag = False
    """Whether the request takes effect all the same."""


class Status(Answering):
    """Answers with an HTTP status: Datahub in its envelope, storage in its dialect's XML."""

    fault: Literal["status"]
    status: Annotated[int, Field(ge=400, le=599), Expected("an HTTP status from 400 to 599")]
    """Which."""
    retry_after: Annotated[
        float | str | None,
        BeforeValidator(_header_text),
        Expected("seconds, or up to 200 printable ASCII characters"),
    ] = None
    """What `Retry-After` says: seconds, or any text."""
    error: Annotated[
        str | None, Field(pattern=r"^[A-Za-z]{1,80}$"), Expected("a code such as InternalError")
    ] = None
    """The code in storage's XML; else one that goes with the status."""
    message: Annotated[Text | None, Expected("a text of 1 to 200 characters")] = None
    """What the answer says."""


class Code(Answering):
    """Answers with an envelope's code under HTTP 200."""

    applies: ClassVar[tuple[str, ...]] = API

    fault: Literal["code"]
    code: FromOne
    """Which: 1 is a business error; 400, 401 and 500 are what they are in HTTP."""
    message: Text = "chaos"
    """What `msg` says."""


class Reset(Answering):
    """Resets the connection (TCP RST)."""

    fault: Literal["reset"]
    bytes: Count = 0
    """After so many bytes of the file's body; where the request is applied, of the answer's."""


class Hang(Answering):
    """Does not answer."""

    fault: Literal["hang"]
    seconds: Annotated[Seconds | None, Expected("a number from 0 to 86400 (seconds)")] = None
    """How long, until the connection is closed; else until the other side gives up."""


class Truncate(Rule):
    """Cuts the answer's body, be it a file or JSON."""

    applies: ClassVar[tuple[str, ...]] = (*API, "get")

    fault: Literal["truncate"]
    bytes: Annotated[Count | None, Expected("a whole number of 0 or more")] = None
    """How many of its bytes are left; else half of them."""
    length: Annotated[Literal["whole", "cut"], Expected("whole or cut")] = "whole"
    """What `Content-Length` says: that of the whole body, and the connection is closed early, or
    that of what is left."""


class Garbage(Answering):
    """Answers with what makes no sense."""

    fault: Literal["garbage"]
    kind: Annotated[
        Literal["html", "bytes", "gzip", "status_line", "header"],
        Expected("html, bytes, gzip, status_line or header"),
    ] = "html"
    """A proxy's page, random bytes, what is no gzip though it says so, no HTTP at all, or a header
    of 1 MiB: all under status 200."""


class Expire(Rule):
    """Answers as if the presigned URL had expired, in the words of storage's dialect."""

    applies: ClassVar[tuple[str, ...]] = STORAGE

    fault: Literal["expire"]


class SlowDown(Rule):
    """Answers 503 SlowDown, in storage's XML."""

    applies: ClassVar[tuple[str, ...]] = STORAGE

    fault: Literal["slow_down"]
    retry_after: Annotated[Seconds | None, Expected("a number from 0 to 86400 (seconds)")] = None
    """What `Retry-After` says."""


class IgnoreRange(Rule):
    """Answers a range with 200 and the whole object."""

    applies: ClassVar[tuple[str, ...]] = ("get",)
    ends = False

    fault: Literal["ignore_range"]


class WrongEtag(Rule):
    """Gives another ETag, or none."""

    applies: ClassVar[tuple[str, ...]] = STORAGE
    ends = False

    fault: Literal["wrong_etag"]
    etag: Annotated[Literal["other", "none"], Expected("other or none")] = "other"
    """Which."""


class Outage(Rule):
    """Resets all connections, those under way too."""

    fault: Literal["outage"]


class Drop(Answering):
    """Loses a call that Datahub makes to a service, or the answer to it."""

    applies: ClassVar[tuple[str, ...]] = SERVICE
    usual: ClassVar[tuple[str, ...] | None] = SERVICE

    fault: Literal["drop"]


class Repeat(Rule):
    """Sends a call to a service twice, byte for byte the same."""

    applies: ClassVar[tuple[str, ...]] = SERVICE
    usual: ClassVar[tuple[str, ...] | None] = SERVICE
    ends = False

    fault: Literal["repeat"]


class BadSignature(Rule):
    """Spoils the signature of a call to a service."""

    applies: ClassVar[tuple[str, ...]] = SERVICE
    usual: ClassVar[tuple[str, ...] | None] = SERVICE
    ends = False

    fault: Literal["bad_signature"]


FAULTS: Final[Mapping[str, type[Rule]]] = {
    "delay": Delay,
    "trickle": Trickle,
    "status": Status,
    "code": Code,
    "reset": Reset,
    "hang": Hang,
    "truncate": Truncate,
    "garbage": Garbage,
    "expire": Expire,
    "slow_down": SlowDown,
    "ignore_range": IgnoreRange,
    "wrong_etag": WrongEtag,
    "outage": Outage,
    "drop": Drop,
    "repeat": Repeat,
    "bad_signature": BadSignature,
}
"""By name."""
