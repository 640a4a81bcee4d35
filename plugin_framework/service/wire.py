"""HTTP as uvicorn speaks it, but with the envelope where the request is no HTTP at all."""

from __future__ import annotations

import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class EnvelopeProtocol(H11Protocol):
    """One connection."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close; uvicorn's contract."""
        body = json.dumps({"code": 400, "msg": msg, "data": None}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(
            status_code=HTTPStatus.BAD_REQUEST, headers=headers, reason=b"Bad Request"
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
