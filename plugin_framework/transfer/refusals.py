"""What an answer that is no success means: try again, get a fresh URL, or give up."""

from __future__ import annotations

import re

from plugin_framework.errors import Code, StorageError, StorageUnreachableError, TransferError
from plugin_framework.transfer.address import shown
from plugin_framework.transfer.exchange import Answer

_TRANSIENT_CODES = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"})
_SLOW_CODES = frozenset({"SlowDown", "ServiceUnavailable"})
_PERMANENT_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch"})
_CODE = re.compile(rb"<Code>\s*([\w.-]{1,80})\s*</Code>")
_REQUEST_ID = re.compile(rb"<RequestId>\s*([\w.:/+=-]{1,128})\s*</RequestId>")
_PLAIN_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_REQUEST_ID_HEADERS = ("x-amz-request-id", "x-oss-request-id", "x-cos-request-id")
_NAMES_TIME = re.compile(rb"expir|time", re.IGNORECASE)
_ERROR_DOCUMENT = re.compile(rb"<Error[\s>]")


class UrlExpiredError(StorageError):
    """Storage refused in a way that a fresh URL may mend: stores say little about expiry."""

    code = Code.URL_EXPIRED


class UnsuitableAnswerError(TransferError):
    """A success that lacks what makes it one: an ETag, the range that was asked for."""

    code = Code.STORAGE_REFUSED


def refusal(answer: Answer, url: str) -> StorageError:
    """The error for an answer. The store's own message stays out: it may repeat the query."""
    code = _found(_CODE, answer.body)
    request_id = _found(_REQUEST_ID, answer.body) or _id_in(answer)
    named = f" {code}" if code else ""
    ticket = f" (request id {request_id})" if request_id else ""
    kind = UrlExpiredError if _may_be_expired(answer, code) else StorageError
    return kind(
        f"storage refused {shown(url)}: {answer.status}{named}{ticket}",
        status=answer.status,
        store_code=code,
        request_id=request_id,
    )


def has_error_document(answer: Answer) -> bool:
    """Whether the body is an error's, whatever the status says."""
    return _ERROR_DOCUMENT.search(answer.body) is not None


def is_transient(error: TransferError) -> bool:
    """Whether the same request may go through the next time."""
    if isinstance(error, StorageError):
        status = error.status
        overloaded = status in (408, 429) or (status >= 500 and status != 501)  # noqa: PLR2004 - HTTP's
        return overloaded or error.store_code in _TRANSIENT_CODES
    return isinstance(error, StorageUnreachableError | UnsuitableAnswerError)


def asks_to_slow_down(error: TransferError) -> bool:
    """Whether storage has too much to do."""
    return isinstance(error, StorageError) and (
        error.status in (429, 503) or error.store_code in _SLOW_CODES
    )


def _id_in(answer: Answer) -> str | None:
    ids = (answer.headers.get(name, "") for name in _REQUEST_ID_HEADERS)
    return next((each for each in ids if _PLAIN_ID.fullmatch(each)), None)


def _may_be_expired(answer: Answer, code: str | None) -> bool:
    if answer.status == 403:  # noqa: PLR2004 - radosgw says nothing else
        return code not in _PERMANENT_CODES
    return (
        answer.status == 400  # noqa: PLR2004 - HTTP's
        and code != "RequestTimeout"
        and _NAMES_TIME.search(answer.body) is not None
    )


def _found(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    match = pattern.search(body)
    return match[1].decode("ascii", "replace") if match else None
