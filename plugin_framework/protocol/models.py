"""The messages of the Datahub API, field for field (PROTOCOL.md, part 1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

MINIMUM_PART_SIZE = 5 * 1024 * 1024
"""Bytes: no part but the last may be smaller (PROTOCOL.md, 1.1)."""

MAXIMUM_PARTS = 10_000
"""Object stores take no more parts than this in one upload."""

ID_LIMIT = 200
"""Characters of an id."""

ID_PATTERN = r"^[^/\\\x00-\x1f\x7f]+$"


class TaskStatus(IntEnum):
    """The life of a subtask, as Datahub counts it (PROTOCOL.md, 1.5)."""

    INITIAL = 0  # created by Datahub, not started
    RUNNING = 1  # a plugin works on it
    PAUSED = 2  # suspended at a checkpoint, may go on
    COMPLETED = 3  # a result was accepted; only /api/task/result sets this
    CANCELLED = 4  # ended because someone asked
    FAILED = 5  # ended because something went wrong

    @property
    def is_final(self) -> bool:
        """Whether nothing may be reported after this status."""
        return self >= TaskStatus.COMPLETED


class WireModel(BaseModel):
    """A message. Unknown fields of an answer are ignored; input never shows in errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True
    )


class StatusUpdate(WireModel):
    """Body of ``POST /api/task/update_status`` (PROTOCOL.md, 1.5)."""

    subtask_id: str
    status: TaskStatus


class Heartbeat(WireModel):
    """Body of ``POST /api/task/heartbeat`` (PROTOCOL.md, 1.6).

    ``timestamp`` is in Unix seconds; ``process`` is the progress in percent, 0 to 100.
    """

    subtask_id: str
    timestamp: int
    process: int = Field(ge=0, le=100)


class ResultReport(WireModel):
    """Body of ``POST /api/task/result`` (PROTOCOL.md, 1.7)."""

    subtask_id: str
    result: dict[str, Any]


class UploadRequest(WireModel):
    """Body of ``POST /api/task/upload/init`` (PROTOCOL.md, 1.1). Sizes are in bytes."""

    subtask_id: str
    file_name: str
    file_size: int = Field(ge=0, le=2**63 - 1)
    chunk_size: int | None = Field(None, ge=MINIMUM_PART_SIZE)
    file_md5: str | None = None

    def body(self, fields: Literal["sample", "joined"] = "sample") -> dict[str, Any]:
        """The JSON to send, in the spelling asked for (PROTOCOL.md, part 3)."""
        sent = self.model_dump(exclude_none=True)
        if fields == "joined":
            sent["filename"] = sent.pop("file_name")
            sent["filesize"] = sent.pop("file_size")
        return sent


class PartUrl(WireModel):
    """Where one part goes. ``index`` counts from 1; the URL is a secret."""

    index: int
    url: SecretStr


def _number_strings(urls: object) -> object:
    if not isinstance(urls, list):
        return urls
    return [
        {"index": index, "url": url} if isinstance(url, str) else url
        for index, url in enumerate(urls, 1)
    ]


def _in_order(parts: tuple[PartUrl, ...]) -> tuple[PartUrl, ...]:
    ordered = tuple(sorted(parts, key=lambda part: part.index))
    indexes = [part.index for part in ordered]
    if not indexes or indexes != list(range(1, len(indexes) + 1)):
        raise ValueError("part_upload_urls must count from 1 without gaps or repeats")
    return ordered


def _whole_characters(text: str) -> str:
    text.encode()  # JSON can hold half a surrogate pair, which no request and no file can
    return text


class UploadTicket(WireModel):
    """``data`` of upload/init's answer: the parts by index, gaps and repeats refused.

    ``chunk_size`` in bytes, where Datahub says that the parts are of another size than asked for.
    """

    upload_id: Annotated[str, AfterValidator(_whole_characters)]
    chunk_size: int | None = Field(None, ge=0, le=2**63 - 1)
    part_upload_urls: Annotated[
        tuple[PartUrl, ...], BeforeValidator(_number_strings), AfterValidator(_in_order)
    ]


class CompletedPart(WireModel):
    """A stored part, with its ETag verbatim, quotes and all (PROTOCOL.md, 1.2)."""

    index: int
    etag: str


class UploadCompletion(WireModel):
    """Body of ``POST /api/task/upload/complete`` (PROTOCOL.md, 1.3)."""

    upload_id: str
    subtask_id: str
    parts: tuple[CompletedPart, ...]


class DownloadTicket(WireModel):
    """``data`` of download/presign's answer (PROTOCOL.md, 1.4). The URL is a secret."""

    download_url: SecretStr
    file_name: str | None = None


class Notification(WireModel):
    """``data`` of notify's answer (PROTOCOL.md, 1.8)."""

    status: TaskStatus


class Envelope(WireModel):
    """What every answer comes in. ``code`` 0 is success."""

    code: int = 0
    msg: str = ""
    data: Any = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Envelope:
        """Read an answer; an object without ``code`` is taken as the data (part 3)."""
        if "code" not in answer:
            return cls(data=dict(answer))
        return cls.model_validate({**answer, "msg": answer.get("msg") or ""})
