"""The host that a request is for, where its first line names it."""

from __future__ import annotations

import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


class TargetProtocol(HttpToolsProtocol):
    """Gives applications the host of an absolute target in place of the header's.

    It is the one that counts (RFC 9112, 3.2.2), and uvicorn drops it.
    """

    def on_headers_complete(self) -> None:
        """Replace it: once for each there is, so that none and two of them are still found out."""
        absolute = _ABSOLUTE.match(self.url)
        if absolute is not None:
            # In place, since the request's scope has the same list.
            self.headers[:] = [
                (name, absolute[1] if name == b"host" else value) for name, value in self.headers
            ]
        super().on_headers_complete()
