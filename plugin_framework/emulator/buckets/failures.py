"""What a store's refusals and silences become: one line each, and nothing of any signature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from boto3.exceptions import S3UploadFailedError  # type: ignore[import-untyped]  # it has no types
from botocore.exceptions import (  # type: ignore[import-untyped]  # it has no types
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)

from plugin_framework.emulator.rules import BUSINESS_ERROR, Refused

UNAVAILABLE: Final = 500
"""The code for what another attempt may get."""

_LONGEST: Final = 300
_LATER: Final = frozenset({"SlowDown", "RequestTimeout"})
_NO_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)


class StoreRefused(Refused):
    """The store says no, or nothing. ``store_code`` is its own code for it, empty without one."""

    def __init__(self, message: str, code: int, store_code: str = "") -> None:
        super().__init__(message, code)
        self.store_code = store_code


@contextmanager
def refusing() -> Iterator[None]:
    """Make ``StoreRefused`` of whatever boto3 raises.

    Raises:
        StoreRefused: with code 500 for what another attempt may get.
    """
    try:
        yield
    except ClientError as error:
        raise _said(error) from None
    except BotoCoreError as error:
        raise _silent(error) from None
    except S3UploadFailedError as error:
        cause = error.__context__
        raise (_said(cause) if isinstance(cause, ClientError) else _silent(error)) from None


def _said(error: ClientError) -> StoreRefused:
    """Code and message of the store, on one line."""
    found = error.response.get("Error", {})
    code = str(found.get("Code", "unknown"))
    message = " ".join(str(found.get("Message", "")).split())[:_LONGEST]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    later = status >= UNAVAILABLE or code in _LATER
    return StoreRefused(
        f"{code}: {message}" if message else code, UNAVAILABLE if later else BUSINESS_ERROR, code
    )


def _silent(error: Exception) -> StoreRefused:
    """Why there is no answer. botocore's own words may hold a URL with its query."""
    if isinstance(error, _NO_CREDENTIALS):
        reason = "boto3 finds no credentials"
    elif isinstance(error, (NoConnectionError, HTTPClientError)):
        reason = f"the store does not answer ({type(error).__name__})"
    else:
        reason = f"the store cannot be used ({type(error).__name__})"
    return StoreRefused(reason, UNAVAILABLE)
