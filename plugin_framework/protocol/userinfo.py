"""User name and password in a URL."""

import re


def is_read_whole(url: str) -> bool:
    """Whether no part of a password can be taken for the host, the port or the path.

    That happens where ``@``, ``/``, ``?`` or ``#`` of a password are not percent-encoded. Then
    there is more than one ``@``, or the only one comes after what ends the host.
    """
    rest = url.partition("://")[2] or url
    return re.fullmatch(r"[^@]*|[^@/?#]*@[^@]*", rest, re.DOTALL) is not None
