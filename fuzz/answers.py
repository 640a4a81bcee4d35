"""What the client makes of Datahub's answers: data as they came, or one of our errors.

An input is an answer in words: how far its status is above 100, the size of a file and of its
parts; headers; and after an empty line the body:

    100 12582912 5242880
    Retry-After: 5

    {"code": 0, "msg": "success", "data": {"status": 1}}
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from fuzz.reading import lines, numbers
from plugin_framework.errors import (
    AuthenticationError,
    DatahubError,
    InvalidAnswerError,
    RejectedError,
    ServerUnavailableError,
    TransferError,
    UnusableAnswerError,
)
from plugin_framework.protocol.answer import (
    MAXIMUM_RETRY_AFTER,
    Answer,
    data_of,
    envelope_of,
    invalid_data,
    retry_after,
)
from plugin_framework.protocol.models import (
    CompletedPart,
    DownloadTicket,
    Envelope,
    Notification,
    UploadCompletion,
    UploadTicket,
)
from plugin_framework.transfer.plan import PART_LIMIT, parts_for

NOW = 1_704_067_200.0
SECRET = "sesame-opens"
MODELS: tuple[type[BaseModel], ...] = (UploadTicket, DownloadTicket, Notification)
MEANT = (ServerUnavailableError, AuthenticationError, RejectedError, InvalidAnswerError)
SHOWN = re.compile(r"POST /: the answer's data are wrong in [a-z0-9_., -]+")


def fuzz(data: bytes) -> None:
    """Read an answer as the client does, and then its data as each of our calls would."""
    (about,), rest = lines(data, 1)
    given, _, body = rest.partition(b"\n\n") if not rest.startswith(b"\n") else (b"", b"", rest[1:])
    status, size, chunk = numbers(about, 3)
    headers = httpx.Headers(
        [
            (name, value.strip())
            for name, _, value in (h.partition(b":") for h in given.split(b"\n"))
        ]
    )
    status = 100 + status % 500
    envelope = envelope_of(body, headers, [SECRET])
    check_message(envelope)
    answer = Answer("POST /", changes=True, status=status, headers=headers, envelope=envelope)
    check_wait(headers)
    try:
        found = data_of(answer, NOW)
    except MEANT as error:
        assert type(error) is meant(status, envelope)
        check_refusal(error, status, body)
        return
    assert meant(status, envelope) is None
    assert same(found, naive_data(body))
    for model in MODELS:
        check_model(model, found, abs(size), chunk)


def meant(status: int, envelope: Envelope | None) -> type[DatahubError] | None:
    """What an answer means: Datahub refuses by a code of its own, or by 400. None for data."""
    code = envelope.code if envelope else 0
    success = 200 <= status < 300
    if status in {408, 429} or status >= 500 or (success and code == 500):
        return ServerUnavailableError
    if 401 in {status, code}:
        return AuthenticationError
    if code or status == 400:
        return RejectedError
    return InvalidAnswerError if envelope is None or not success else None


def check_message(envelope: Envelope | None) -> None:
    """What Datahub says is fit for a line of a log."""
    if envelope is not None:
        assert len(envelope.msg) <= 300
        assert envelope.msg == " ".join(envelope.msg.split())
        assert SECRET not in envelope.msg
        assert not re.search(r"https?://[^\s?]*\?(?!\*\*\*)", envelope.msg)
        assert envelope.msg.isprintable() or not envelope.msg.isascii()


def check_wait(headers: httpx.Headers) -> None:
    """No header makes us wait for longer than five minutes, or for less than nothing."""
    seconds = retry_after(headers.get("Retry-After", ""), NOW)
    assert seconds is None or 0 <= seconds <= MAXIMUM_RETRY_AFTER


def check_refusal(error: DatahubError, status: int, body: bytes) -> None:
    """It is not success that was refused, and its text is a line without the secret."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) <= 400
    assert SECRET not in text
    if isinstance(error, ServerUnavailableError):
        assert error.retry_after is None or 0 <= error.retry_after <= MAXIMUM_RETRY_AFTER
    if 200 <= status < 300 and isinstance(error, RejectedError):
        assert naive_code(body) != 0


def check_model(model: type[BaseModel], data: Any, size: int, chunk: int) -> None:
    """Data are read as they came, or refused without being shown."""
    try:
        read = model.model_validate(data)
    except ValidationError as error:
        for changes in (True, False):
            refused = invalid_data("POST /", error, changes=changes)
            assert isinstance(refused, UnusableAnswerError if changes else InvalidAnswerError)
            assert SHOWN.fullmatch(str(refused)), refused
        assert not (model is UploadTicket and is_plain_ticket(data)), data
        return
    if isinstance(read, UploadTicket):
        check_ticket(read, data)
        check_parts(read, size, chunk)
    if isinstance(read, DownloadTicket):
        assert read.download_url.get_secret_value() == data["download_url"]
    if isinstance(read, Notification):
        assert 0 <= float(data["status"]) == read.status


def check_ticket(ticket: UploadTicket, data: Any) -> None:
    """Each part has the URL that Datahub gave it, byte for byte; and none is shown."""
    given = data["part_upload_urls"]
    listed = [
        (place, each) if isinstance(each, str) else (float(each["index"]), each["url"])
        for place, each in enumerate(given, 1)
    ]
    read = [(part.index, part.url.get_secret_value()) for part in ticket.part_upload_urls]
    assert read == sorted(listed)
    assert [index for index, _ in read] == list(range(1, len(given) + 1))
    for _, url in read:
        assert len(url) < 12 or url not in repr(ticket.part_upload_urls)
    stored = tuple(CompletedPart(index=index, etag='W/"\xe9"') for index, _ in read)
    sent = UploadCompletion(upload_id=ticket.upload_id, subtask_id="s", parts=stored)
    back = json.loads(json.dumps(sent.model_dump(), ensure_ascii=False).encode())
    assert back["upload_id"] == data["upload_id"]
    assert ticket.chunk_size is None or 0 <= ticket.chunk_size < 2**63  # the journal keeps it
    assert [(part["index"], part["etag"]) for part in back["parts"]] == [
        (index, 'W/"\xe9"') for index, _ in read
    ]


def check_parts(ticket: UploadTicket, size: int, chunk: int) -> None:
    """There is a URL for each part, and a part for each byte."""
    size, urls = size % 2**63, len(ticket.part_upload_urls)
    asked = ticket.chunk_size or max(chunk, 0) or None
    try:
        parts = parts_for(size, asked, urls)
    except TransferError:
        count = max(1, -(-size // asked)) if asked else 1
        assert count != urls or count > PART_LIMIT
        return
    assert len(parts) == urls <= PART_LIMIT
    assert [part.index for part in parts] == list(range(1, urls + 1))
    assert sum(part.size for part in parts) == size


def is_plain_ticket(data: Any) -> bool:
    """Whether this is what the protocol has of a ticket, beyond doubt."""
    if not isinstance(data, dict) or not _is_text(data.get("upload_id")):
        return False
    urls, chunk = data.get("part_upload_urls"), data.get("chunk_size")
    if not isinstance(urls, list) or not urls:
        return False
    if not (chunk is None or (type(chunk) is int and 0 <= chunk < 2**63)):
        return False
    if all(map(_is_text, urls)):
        return True
    if not all(isinstance(each, dict) and _is_text(each.get("url")) for each in urls):
        return False
    indexes = [each.get("index") for each in urls]
    return all(type(each) is int for each in indexes) and sorted(indexes) == list(
        range(1, len(urls) + 1)
    )


def naive_data(body: bytes) -> Any:
    """The data of an answer that is a success."""
    answer = json.loads(body)
    assert isinstance(answer, dict)
    return answer.get("data") if "code" in answer else answer


def naive_code(body: bytes) -> float:
    """The code of an answer; 0 where there is none."""
    answer = json.loads(body)
    return float(answer.get("code", 0))  # "1.0" is taken for 1


def same(one: Any, other: Any) -> bool:
    """Whether they are equal, and of the same types; NaN is itself."""
    return repr(one) == repr(other)


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
