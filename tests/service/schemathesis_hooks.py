"""Signs what schemathesis sends, as it goes out."""

from __future__ import annotations

import time
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation

from tests.service.calling import signed

_OFFSETS = count()


class Signing(requests.auth.AuthBase):
    """Each request has a time of its own, so that equal ones are no replays."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        assert isinstance(body, bytes)
        query = dict(parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True))
        timestamp = int(time.time()) + next(_OFFSETS) % 500 - 250
        request.headers.update(signed(query, body, timestamp))
        return request


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Do not sign what is to have wrong headers."""
    components = case.meta.components if case.meta else {}
    header = components.get(ParameterLocation.HEADER)
    if header is not None and header.mode is schemathesis.GenerationMode.NEGATIVE:
        case._auth = None


schemathesis.auth.set_from_requests(Signing())  # type: ignore[attr-defined]  # made at run time
